"""`/console/audit`: the events of the audit log, and the state of its chains."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from postern.api.list_query import DEFAULT_LIMIT, audit_page
from postern.console.audit_words import LABELS as KINDS
from postern.console.audit_words import audit_rows
from postern.console.filter_form import SINCE, Asked, FilterForm
from postern.console.look_on import look_on
from postern.console.page import PageRoute, Shown, Visit
from postern.console.services import Services
from postern.journal.reading.audit import AuditFilter, AuditRecord, audit_state, list_events
from postern.journal.reading.queries import Page

HERE = "audit"
MOST_OFFERED = 100
"""Names of workflows that the form offers."""
MOST_CHAINS = 20
"""Chains that the page lists."""
LABELS = {
    "kind": "kind",
    "who": "who",
    "workflow": "workflow",
    "node": "server process",
    "since": "since",
    "until": "until",
}
FORM = FilterForm(LABELS, audit_page)


@dataclass(frozen=True, slots=True)
class Audit:
    """The page."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is."""
        return (PageRoute("GET", "/console/audit", self.index, operators_only=True),)

    async def index(self, visit: Visit) -> Shown:
        """A page of the list, with its filters as a form and the state of the chains above it."""
        wanted = FORM.asked(visit.query, self.services.now())
        found = await self._read(visit, wanted, wanted.page.cursor, DEFAULT_LIMIT)
        state = await self.services.read(audit_state, visit.holder)
        excluding = None if found.items or wanted.page.cursor else await self._excluding(visit, wanted)
        values = {
            "rows": audit_rows(found.items),
            "asked": {name: wanted.given.get(name, "") for name in LABELS},
            "chips": wanted.chips(),
            "kinds": KINDS,
            "sinces": {value: words for value, (_, words) in SINCE.items()},
            "workflows": sorted(self.services.snapshot().triggers)[:MOST_OFFERED],
            "next": wanted.link(cursor=found.next) if found.next is not None else "",
            "first": wanted.link() if wanted.page.cursor else None,
            "short": found.next is not None and len(found.items) < DEFAULT_LIMIT,
            "excluding": excluding,
            "chains": state.chains[:MOST_CHAINS],
            "events": sum(chain.events for chain in state.chains),
            "more_chains": state.more or len(state.chains) > MOST_CHAINS,
            "checkpoint": state.checkpoint,
            "key_name": self.services.settings.audit_key_name or "",
        }
        return Shown("audit.html", values, HERE)

    async def _read(self, visit: Visit, wanted: Asked, cursor: str | None, limit: int) -> Page[AuditRecord]:
        return await look_on(self._reader(visit, wanted.page.filter), cursor, limit)

    def _reader(self, visit: Visit, filters: AuditFilter) -> Callable[[str | None, int], Awaitable[Page[AuditRecord]]]:
        def read(cursor: str | None, limit: int) -> Awaitable[Page[AuditRecord]]:
            def query(connection: Connection) -> Page[AuditRecord]:
                return list_events(connection, filters, cursor, limit)

            return self.services.read(query, visit.holder)

        return read

    async def _excluding(self, visit: Visit, wanted: Asked) -> tuple[str, str] | None:
        """The first filter without which there are events: its words, and the query of the list without it."""
        for name, words, link in wanted.chips():
            if (await self._read(visit, wanted.without(name), None, 1)).items:
                return words, link
        return None
