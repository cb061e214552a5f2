"""`/connect`: what a person can connect, the page of one connection, the links by which operators ask for one, and the
way to the provider and back. Open to all people, also where the console is for operators only."""

from dataclasses import dataclass
from typing import Any

from postern.api.grant_actions import CONNECT, Asker, Own, asker_of
from postern.browser_secrets import is_hash
from postern.connections.grants.entries import GrantedEntry
from postern.console.consent import Consent, OtherAccount
from postern.console.destination import destination
from postern.console.form import form_of
from postern.console.grant_words import grant_row, history_words, people_by_id, scopes_of, state_words, who_asked
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.services import Services
from postern.console.uses_words import users_for, users_of_connections
from postern.errors import problem
from postern.journal import invitations
from postern.plain_text import plain

HERE = "connections"
MOST_FORM_BYTES = 4096
RETURN_TO = "return_to"


def asker(visit: Visit) -> Asker:
    """The viewer as one who asks."""
    return asker_of(visit.viewer.caller, visit.viewer.operator, visit.holder)


@dataclass(frozen=True, slots=True)
class Connect:
    """The pages."""

    services: Services
    consent: Consent

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are. The address of the callback has a code, so it is not opened again after signing in."""
        return (
            PageRoute("GET", "/connect", self.index, for_people=True),
            PageRoute("GET", "/connect/{name}", self.page, for_people=True),
            PageRoute("POST", "/connect/{name}", self.begin, for_people=True),
            PageRoute("GET", "/connect/{name}/callback", self.callback, for_people=True, resumed=False),
            PageRoute("GET", "/connect/{name}/disconnect", self.back, for_people=True),
            PageRoute("POST", "/connect/{name}/disconnect", self.disconnect, for_people=True),
            PageRoute("GET", "/connect/{name}/link/{hash}", self.invited, for_people=True),
            PageRoute("POST", "/connect/{name}/link/{hash}", self.accept, for_people=True),
        )

    async def index(self, visit: Visit) -> Shown:
        """What this person can connect."""
        rows = [grant_row(own) for own in await self.services.grants.own(asker(visit))]
        return Shown("connect_list.html", {"rows": rows}, HERE)

    async def page(self, visit: Visit) -> Shown:
        """One connection: what it asks for, and its state."""
        return await self._shown(visit, self._entry(visit))

    async def begin(self, visit: Visit) -> Shown:
        """Go to the provider."""
        entry = self._entry(visit)
        to = (await form_of(visit, MOST_FORM_BYTES)).get(RETURN_TO, "")
        return await self._onward(visit, entry, destination(to, f"{CONNECT}/{entry.name}"))

    async def invited(self, visit: Visit) -> Shown:
        """The page of a link, for the person that it is for. It changes nothing: mail scanners open links too."""
        entry, hash_ = self._entry(visit), self._hash(visit)
        who, now = asker(visit), self.services.now()

        found = await self.services.read(
            lambda connection: invitations.look(connection, hash_, entry.name, who.person, now), visit.holder
        )
        if found is None:
            raise problem("not-found")
        people = people_by_id(self.services.settings.people)
        more = {"action": f"{entry.name}/link/{hash_}", "asked_by": who_asked(found.created_by, people)}
        return await self._shown(visit, entry, **more)

    async def accept(self, visit: Visit) -> Shown:
        """Go to the provider, by a link, which is used up."""
        entry = self._entry(visit)
        return await self._onward(visit, entry, f"{CONNECT}/{entry.name}", self._hash(visit))

    async def callback(self, visit: Visit) -> Shown | SeeOther:
        """The provider has sent the browser back."""
        if visit.request.method != "GET":
            raise problem("method-not-allowed", headers={"Allow": "GET"})
        entry = self._entry(visit)
        done = await self.consent.finish(visit, entry, asker(visit))
        if isinstance(done, OtherAccount):
            return self._other_account(entry, done)
        return SeeOther(done)

    async def disconnect(self, visit: Visit) -> Shown:
        """End the person's own grant, or for operators the shared one."""
        entry, who = self._entry(visit), asker(visit)
        note = await self.services.grants.end(entry, entry.owner(who.person), who)
        return await self._shown(visit, entry, ended=True, note=plain(note))

    async def back(self, visit: Visit) -> SeeOther:
        """The address of a form that was sent, opened again: to the page of the connection."""
        return SeeOther(f"{CONNECT}/{self._entry(visit).name}")

    async def _onward(self, visit: Visit, entry: GrantedEntry, to: str, invitation: str = "") -> Shown:
        """The page that goes on to the provider. It is no redirect, because browsers stop a form that is redirected to
        another origin."""
        onward = await self.consent.begin(visit, entry, asker(visit), to, invitation)
        values = {"url": onward.url, "name": entry.name, "provider": plain(entry.provider)}
        return Shown("connect_onward.html", values, HERE, more=(onward.cookie,))

    async def _shown(self, visit: Visit, entry: GrantedEntry, **more: Any) -> Shown:
        services, who = self.services, asker(visit)
        own: Own = await services.grants.own_of(entry, who)
        triggers, person = services.snapshot().triggers, visit.viewer.session.object_id
        users = (
            users_of_connections(triggers).get(entry.name, [])
            if who.operator
            else users_for(triggers, entry.name, person)
        )
        to = destination(visit.request.query_params.get(RETURN_TO, ""), "")
        grant, people = own.grant, people_by_id(services.settings.people)
        by_viewer = grant is not None and grant.created_by == who.person
        values = {
            "row": grant_row(own),
            "address": plain(getattr(entry.found, "base_url", "")),
            "asked": scopes_of(entry, self.consent.provider(entry.name).scopes),
            "granted": tuple(map(plain, grant.scopes)) if grant is not None else (),
            "tenant": plain(grant.tenant) if grant is not None else "",
            "connected_by": visit.viewer.name if by_viewer else who_asked(grant.created_by, people) if grant else "",
            "connected_at": grant.connected_at if grant is not None else None,
            "used_at": grant.used_at if grant is not None else None,
            "history": history_words(grant, people),
            "workflows": tuple(map(plain, users)),
            "return_to": to,
            "action": entry.name,
            "asked_by": "",
            "ended": False,
            "note": "",
        }
        return Shown("connect.html", values | more, HERE)

    def _other_account(self, entry: GrantedEntry, found: OtherAccount) -> Shown:
        before = found.before.grant
        values = {
            "name": entry.name,
            "provider": plain(entry.provider),
            "before": plain((before.account_name or before.account) if before is not None else ""),
            "before_tenant": plain(before.tenant if before is not None else ""),
            "now": plain(found.account_name),
            "now_tenant": plain(found.tenant),
            "state": state_words(found.before.condition),
        }
        return Shown("connect_other.html", values, HERE, status=409)

    def _entry(self, visit: Visit) -> GrantedEntry:
        """The entry of the path, if this person may connect it."""
        return self.services.grants.entry(visit.request.path_params["name"], asker(visit))

    def _hash(self, visit: Visit) -> str:
        found: str = visit.request.path_params["hash"]
        if not is_hash(found):
            raise problem("not-found")
        return found
