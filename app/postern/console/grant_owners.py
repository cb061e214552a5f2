"""`/console/connections/{entry}/people`: whose grants an entry has, for operators, and a link by which one more person
connects it. An operator ends the grant of another person, and never uses it or sees what is in it."""

from dataclasses import dataclass
from typing import Any

from postern.api.grant_actions import Link
from postern.connections.grants.entries import GrantedEntry
from postern.console.connect import asker
from postern.console.form import form_of
from postern.console.grant_words import owner_row, people_by_id
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.journal.grants import grant_name
from postern.plain_text import plain

HERE = "connections"
MOST_FORM_BYTES = 4096


@dataclass(frozen=True, slots=True)
class GrantOwners:
    """The page and its forms."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/connections/{entry}/people", self.page, operators_only=True),
            PageRoute("POST", "/console/connections/{entry}/people", self.invite, operators_only=True),
            PageRoute("GET", "/console/connections/{entry}/people/end", self.back, operators_only=True),
            PageRoute("POST", "/console/connections/{entry}/people/end", self.end, operators_only=True),
        )

    async def page(self, visit: Visit) -> Shown:
        """The owners, in pages."""
        return await self._shown(visit, self._entry(visit))

    async def invite(self, visit: Visit) -> Shown:
        """Make a link, which this page shows, and no other."""
        entry = self._entry(visit)
        typed = (await form_of(visit, MOST_FORM_BYTES)).get("person", "").strip()
        object_id = self.services.settings.people.get(typed, typed.lower())
        try:
            link = await self.services.grants.link(entry.name, object_id, asker(visit))
        except Problem as wrong:
            if wrong.code != "invalid-body":
                raise
            return await self._shown(visit, entry, typed=plain(typed)[:100], wrong=True, status=400)
        return await self._shown(visit, entry, typed=plain(typed), link=link)

    async def end(self, visit: Visit) -> Shown:
        """End the grant of a person."""
        entry, actions = self._entry(visit), self.services.grants
        owner = actions.owner_in((await form_of(visit, MOST_FORM_BYTES)).get("owner", ""))
        note = await actions.end(entry, owner, asker(visit))
        return await self._shown(visit, entry, ended=True, note=plain(note))

    async def back(self, visit: Visit) -> SeeOther:
        """The address of a form that was sent, opened again."""
        return SeeOther(f"/console/connections/{self._entry(visit).entry}/people")

    def _entry(self, visit: Visit) -> GrantedEntry:
        entry = self.services.grants.entries.get(grant_name(visit.request.path_params["entry"]))
        if entry is None or entry.entry != visit.request.path_params["entry"] or not entry.per_user:
            raise problem("not-found", detail="No person connects such an entry.")
        return entry

    async def _shown(
        self, visit: Visit, entry: GrantedEntry, *, link: Link | None = None, status: int = 200, **more: Any
    ) -> Shown:
        services = self.services
        people = people_by_id(services.settings.people)
        after = visit.request.query_params.get("after", "")
        after = services.grants.owner_in(after) if after else ""  # other text, such as a NUL, is none of the database's
        found = await services.grants.owners(entry, asker(visit), after)
        values = {
            "entry": entry.entry,
            "name": entry.name,
            "provider": plain(entry.provider),
            "rows": [owner_row(grant, state, people) for grant, state in found.grants],
            "counts": sorted(found.counts.items()),
            "more": found.next,
            "counted_all": not found.more,
            "people": sorted(services.settings.people),
            "link": f"{services.address}{link.path}" if link is not None else "",
            "link_ends_at": link.expires_at if link is not None else None,
            "typed": "",
            "wrong": False,
            "ended": False,
            "note": "",
        }
        return Shown("connection_people.html", values | more, HERE, status)
