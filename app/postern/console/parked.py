"""`/console/runs/parked`: runs that go on only when something changes, for operators."""

import re
from dataclasses import dataclass
from functools import partial

from postern.console.durable_words import parked_words
from postern.console.page import PageRoute, Shown, Visit
from postern.console.services import Services
from postern.ids import time_of
from postern.journal.reading.durable_attention import ParkedRun, parked_runs
from postern.plain_text import plain

HERE = "runs"
PAGE = 100
_AFTER = re.compile(r"([a-z0-9-]{1,100})/([0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A parked run in the list."""

    id: str
    workflow: str
    accepted_at: float
    why: str
    goes_on: str
    deaths: int


def parked_row(run: ParkedRun) -> ParkedRow:
    """The row of a run."""
    words, workflow = parked_words(run.reason), plain(run.workflow)
    return ParkedRow(run.run_id, workflow, time_of(run.run_id), words.why, words.goes_on.format(workflow), run.deaths)


@dataclass(frozen=True, slots=True)
class Parked:
    """The list."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is. It comes before the page of a run: `parked` is no id."""
        return (PageRoute("GET", "/console/runs/parked", self.page, operators_only=True),)

    async def page(self, visit: Visit) -> Shown:
        """A page of the list, by workflow."""
        after = _AFTER.fullmatch(visit.request.query_params.get("after", ""))
        place = (after[1], after[2]) if after is not None else None
        found = await self.services.read(partial(parked_runs, after=place, most=PAGE + 1), visit.holder)
        rows = [parked_row(each) for each in found[:PAGE]]
        more = f"{found[PAGE - 1].workflow}/{found[PAGE - 1].run_id}" if len(found) > PAGE else ""
        return Shown("parked.html", {"rows": rows, "more": more, "first": place is None}, HERE)
