"""`/console/runs/resubmit`: the runs of a list that can be resubmitted, as a form, and what became of them."""

from dataclasses import dataclass
from functools import partial

from postern.access import Refused
from postern.api.checked_runs import RESUBMIT, checked, checked_facts
from postern.api.client import address_of
from postern.api.list_query import PageQuery
from postern.api.run_actions import RunActions, see
from postern.console.form import form_of
from postern.console.page import PageRoute, Shown, Visit, unproved
from postern.console.run_query import run_query
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal.reading.queries import find_run_alone, list_runs
from postern.journal.reading.records import RunRecord
from postern.plain_text import plain

HERE = "runs"
MOST = 50
"""Runs of one form: they are started one after the other while its sender waits. `postern runs resubmit` takes more."""
MOST_FORM_BYTES = 8 * 1024
STOP_AT = frozenset({429, 503})
"""Statuses after which the others are not tried."""
ONCE = "postern-console-resubmit"
"""The idempotency key of each resubmit here: a form that is sent twice starts nothing twice."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A run of the form."""

    id: str
    workflow: str
    started_at: float
    error: str


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a run: the new one, or why there is none."""

    id: str
    workflow: str
    new_id: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class RunBulk:
    """The pages. They do what the run API does, with the same checks and log lines. For operators."""

    services: Services
    actions: RunActions

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are. They come before the page of a run: `resubmit` is no id."""
        return (
            PageRoute("GET", "/console/runs/resubmit", self.ask, operators_only=True),
            PageRoute("POST", "/console/runs/resubmit", self.resubmit, operators_only=True),
        )

    async def ask(self, visit: Visit) -> Shown:
        """The newest runs that fit the filters of the list: those that can be resubmitted, and why not the others."""
        asked = run_query(visit.query, None, self.services.now())
        if asked.page is None:
            raise problem("bad-filter", errors=[{"where": name, "message": why} for name, why in asked.errors.items()])
        choices, left_out, more = await self._found(visit, asked.page)
        values = {
            "choices": choices,
            "left_out": sorted(left_out.items()),
            "more": more,
            "chips": [chip.words for chip in asked.chips()],
            "list": asked.link(),
        }
        return Shown("runs_resubmit.html", values, HERE)

    async def resubmit(self, visit: Visit) -> Shown:
        """Start a new run of each that was chosen, the oldest first, and say what became of them."""
        fields = await form_of(visit, MOST_FORM_BYTES, most_fields=MOST)
        ids = sorted(name for name in fields if is_id(name))
        done: list[Done] = []
        for run_id in ids:
            one, goes_on = await self._one(visit, run_id)
            done.append(one)
            if not goes_on:
                break
        values = {"done": done, "not_tried": len(ids) - len(done)}
        return Shown("runs_resubmitted.html", values, HERE)

    async def _found(self, visit: Visit, page: PageQuery) -> tuple[list[Choice], dict[str, int], bool]:
        found = await self.services.read(lambda c: list_runs(c, page.filter, page.cursor, MOST), visit.holder)
        facts = await self.services.read(partial(checked_facts, records=found.items, check=RESUBMIT), visit.holder)
        snapshot, installation = self.services.snapshot(), self.services.installation
        checks = checked(facts, RESUBMIT, snapshot, installation, visit.viewer.caller)
        choices: list[Choice] = []
        left_out: dict[str, int] = {}
        for record in found.items:
            check = checks.get(record.id)
            why = "The run is gone." if check is None else check["cannot_resubmit"]
            if check is not None and check["resubmitted_as"]:
                why = "It was resubmitted already."
            if why:
                left_out[why] = left_out.get(why, 0) + 1
            else:
                choices.append(_choice(record))
        return choices, left_out, found.next is not None

    async def _one(self, visit: Visit, run_id: str) -> tuple[Done, bool]:
        """What became of a run, and whether the next one is tried."""
        record = await self.services.read(partial(find_run_alone, run_id=run_id), visit.holder)
        if record is None:
            return Done(run_id, "", why="There is no such run."), True
        name = plain(record.workflow)
        try:
            seen = see(self.services.installation, record, visit.viewer.caller, address_of(visit.request))
            as_caller = seen._replace(caller=unproved(seen.caller))
            started = await self.actions.resubmit_once(as_caller, goes_on=True, key=ONCE)
        except Refused:
            return Done(run_id, name, why="You may not call this workflow now."), True
        except Problem as shown:
            return Done(run_id, name, why=plain(shown.detail)), shown.status not in STOP_AT
        return Done(run_id, name, started.record.id), True


def _choice(record: RunRecord) -> Choice:
    return Choice(record.id, plain(record.workflow), record.started_at, plain(record.error_type or ""))
