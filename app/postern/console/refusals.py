"""`/console/refusals`: the rejected requests, and every check of one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from postern.api.list_query import DEFAULT_LIMIT, refusal_page
from postern.console.check_words import CHECKS
from postern.console.filter_form import SINCE, Asked, FilterForm
from postern.console.look_on import look_on
from postern.console.page import PageRoute, Shown, Visit
from postern.console.refusal_view import refusal_rows, refusal_view
from postern.console.services import Services
from postern.errors import problem
from postern.ids import is_id, time_of
from postern.journal.reading.cursor import opened
from postern.journal.reading.filters import RefusalFilter
from postern.journal.reading.queries import Page, find_refusal, list_refusals
from postern.journal.reading.records import RefusalRecord

HERE = "refusals"
MOST_OFFERED = 100
"""Names of workflows that the form offers."""
LABELS = {
    "workflow": "workflow",
    "reason": "reason",
    "address": "address",
    "via": "through",
    "request_id": "request",
    "since": "since",
    "until": "until",
}
FORM = FilterForm(LABELS, refusal_page)


@dataclass(frozen=True, slots=True)
class Refusals:
    """The two pages."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/refusals", self.index, operators_only=True),
            PageRoute("GET", "/console/refusals/{id}", self.one, operators_only=True),
        )

    async def index(self, visit: Visit) -> Shown:
        """A page of the list, with its filters as a form."""
        wanted = FORM.asked(visit.query, self.services.now())
        found = await self._read(visit, wanted, wanted.page.cursor, DEFAULT_LIMIT)
        looked_back = None
        if found.next is not None and len(found.items) < DEFAULT_LIMIT:
            looked_back = time_of(opened(wanted.page.filter, found.next))
        excluding = None if found.items or wanted.page.cursor else await self._excluding(visit, wanted)
        values = {
            "rows": refusal_rows(found.items),
            "asked": {name: wanted.given.get(name, "") for name in LABELS},
            "chips": wanted.chips(),
            "sinces": {value: words for value, (_, words) in SINCE.items()},
            "workflows": sorted(self.services.snapshot().triggers)[:MOST_OFFERED],
            "reasons": list(CHECKS),
            "next": wanted.link(cursor=found.next) if found.next is not None else "",
            "first": wanted.link() if wanted.page.cursor else None,
            "looked_back": looked_back,
            "excluding": excluding,
        }
        return Shown("refusals.html", values, HERE)

    async def one(self, visit: Visit) -> Shown:
        """One refusal, by the id of any of its requests that is kept."""
        request_id = visit.request.path_params["id"].lower()
        record = await self._find(visit, request_id) if is_id(request_id) else None
        if record is None:
            days = self.services.settings.retention_days
            raise problem(
                "not-found",
                detail="No refusal is recorded for this request. It may not have been rejected. Of many requests alike "
                f"only the first ids are kept. Records are deleted after {days} days.",
            )
        trigger = self.services.snapshot().triggers.get(record.workflow)
        view = refusal_view(record, request_id, trigger, self.services.installation.audiences)
        return Shown("refusal.html", {"refusal": view}, HERE)

    async def _find(self, visit: Visit, request_id: str) -> RefusalRecord | None:
        found = await self.services.read(lambda connection: find_refusal(connection, request_id), visit.holder)
        if found is not None:
            return found
        filters = RefusalFilter(request_id=request_id)
        page = await look_on(self._reader(visit, filters), None, 1)
        return page.items[0] if page.items else None

    async def _read(self, visit: Visit, wanted: Asked, cursor: str | None, limit: int) -> Page[RefusalRecord]:
        return await look_on(self._reader(visit, wanted.page.filter), cursor, limit)

    def _reader(
        self, visit: Visit, filters: RefusalFilter
    ) -> Callable[[str | None, int], Awaitable[Page[RefusalRecord]]]:
        def read(cursor: str | None, limit: int) -> Awaitable[Page[RefusalRecord]]:
            def query(connection: Connection) -> Page[RefusalRecord]:
                return list_refusals(connection, filters, cursor, limit)

            return self.services.read(query, visit.holder)

        return read

    async def _excluding(self, visit: Visit, wanted: Asked) -> tuple[str, str] | None:
        """The first filter without which there are rows: its words, and the query of the list without it."""
        for name, words, link in wanted.chips():
            if name in LABELS and (await self._read(visit, wanted.without(name), None, 1)).items:
                return words, link
        return None
