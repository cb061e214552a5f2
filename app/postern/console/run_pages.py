"""`/console/runs/{id}`: one run."""

from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection

from postern.api.access import Standing, standing
from postern.api.client import address_of
from postern.api.run_actions import RunActions, Seen, see
from postern.console.connect import asker
from postern.console.durable_view import durable_view
from postern.console.lanes import of_chain, of_failed, of_run
from postern.console.may_send import may_send
from postern.console.page import PageRoute, Shown, Visit
from postern.console.run_log_view import log_view
from postern.console.run_view import run_view
from postern.console.services import Services
from postern.console.words import count
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal.grants import grant_name, owner_of
from postern.journal.reading.call_tree import Tree, find_chain
from postern.journal.reading.durable_parts import DurableParts, durable_parts
from postern.journal.reading.queries import find_run_alone
from postern.journal.reading.records import RunRecord
from postern.journal.reading.resubmits import resubmits_of
from postern.journal.reading.run_logs import RunLog, run_log
from postern.journal.reading.run_parts import RunParts, run_parts
from postern.journal.reading.step_window import MOST_EXAMINED, MOST_STEPS, StepWindow

HERE = "runs"
REQUIRED = "consent-required"
MOST_IN_CHAIN = 60
MOST_VIEWS = 1000
UNKNOWN = "There is no such run, or it is not yours, or its record was deleted because of its age."


@dataclass(frozen=True, slots=True)
class RunPage:
    """The page of a run. `viewed` are runs whose view is in the log, by session: their polls need no further line."""

    services: Services
    actions: RunActions
    viewed: dict[tuple[str, str], None] = field(default_factory=dict)

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is."""
        return (PageRoute("GET", "/console/runs/{id}", self.show),)

    async def show(self, visit: Visit) -> Shown:
        """The page. While the run has not ended, the page asks for itself again every two seconds."""
        after, whole = _after(visit), visit.request.query_params.get("bodies") == "whole"
        seen, parts = await seen_parts(self.services, visit, after)
        may_see = partial(_may_see, self.services, seen)

        def related(connection: Connection) -> tuple[Tree, list[RunRecord], DurableParts | None, RunLog]:
            again = resubmits_of(connection, seen.record) if seen.record.ended else []
            lasting = durable_parts(connection, seen.record.id) if seen.record.durable is not None else None
            said = run_log(connection, seen.record.id) if seen.private else RunLog()
            return find_chain(connection, seen.record, may_see, MOST_IN_CHAIN), again, lasting, said

        tree, again, lasting, said = await self.services.read(related, visit.holder)
        self._note(visit, seen)
        now = self.services.now()
        chain, links = of_chain(tree, seen.record.id, may_see, now)
        view = run_view(seen, parts.window, now, whole=whole)
        values = {
            "run": view,
            "may_signal": may_send(self.services, visit, seen),
            "durable": durable_view(seen, lasting, now) if lasting is not None else None,
            "log": log_view(said),
            "connects": await self._connects(visit, seen.record, view.error_message or ""),
            "time": of_run(seen.record, parts.window, parts.calls, links, now),
            "failed_steps": of_failed(seen.record, parts.window, now),
            "steps_words": steps_words(parts.window),
            "after": after,
            "more_after": parts.window.steps[-1].number if parts.window.more else None,
            "last_after": last_after(parts.window),
            "chain": chain,
            "linked": links,
            "again": [run.id for run in again if may_see(run)],
            "whole": whole,
        }
        return Shown("run.html", values, HERE)

    async def _connects(self, visit: Visit, record: RunRecord, message: str) -> str:
        """The connection for want of which the run failed, if the viewer is the one who can connect it and has not done
        so since; else ""."""
        who, actions = asker(visit), self.services.grants
        entry = actions.entries.get(grant_name(message.partition(" ")[0])) if record.error_type == REQUIRED else None
        if entry is None or not who.person:
            return ""
        caller = owner_of(record.tenant_id or "", record.object_id or "")
        if who.person != caller if entry.per_user else not who.operator:
            return ""
        return "" if (await actions.own_of(entry, who)).condition.usable else entry.name

    def _note(self, visit: Visit, seen: Seen) -> None:
        key = (visit.viewer.session.id_hash, seen.record.id)
        if visit.partial and key in self.viewed:
            return
        if len(self.viewed) >= MOST_VIEWS:
            self.viewed.clear()
        self.viewed[key] = None
        self.actions.note_view(seen)


async def seen_run(services: Services, visit: Visit) -> Seen:
    """The run of the path without its steps and calls, if the viewer may see it. Raises Problem `unknown-run` both if
    there is no such run and if it is another caller's."""
    run_id, here = _underway(services, visit)
    record = await services.read(partial(find_run_alone, run_id=run_id), visit.holder)
    return _seen(services, visit, record or here)


async def seen_parts(services: Services, visit: Visit, after: int) -> tuple[Seen, RunParts]:
    """The same with its steps after one, and its calls."""
    run_id, here = _underway(services, visit)

    def may_see(run: RunRecord) -> bool:
        return standing(services.installation, run, visit.viewer.caller) is not Standing.NONE

    parts = await services.read(partial(run_parts, run_id=run_id, after=after, may_see=may_see), visit.holder)
    return _seen(services, visit, parts.record or here), parts


def _underway(services: Services, visit: Visit) -> tuple[str, RunRecord | None]:
    """The id in the path, and the run if it goes on here. It is looked for before the journal is read: it may end, and
    be recorded, meanwhile."""
    run_id = visit.request.path_params["id"]
    if not is_id(run_id):
        raise problem("unknown-run", detail=UNKNOWN)
    return run_id, services.underway(run_id)


def _seen(services: Services, visit: Visit, record: RunRecord | None) -> Seen:
    try:
        return see(services.installation, record, visit.viewer.caller, address_of(visit.request))
    except Problem:
        raise problem("unknown-run", detail=UNKNOWN) from None


def steps_words(window: StepWindow) -> str:
    """How many steps the run has, and which of them are shown."""
    if window.last is None:
        return "no steps"
    total = window.last.number
    words = f"{count(total)} {'step' if total == 1 else 'steps'}"
    if not window.steps:
        return f"{words}, none after {count(window.after)}"
    if not window.more and not window.after:
        return words
    first, last = window.steps[0].number, window.steps[-1].number
    sought = "" if window.examined else f"; failed ones are sought among the last {count(MOST_EXAMINED)}"
    return f"{words}, {count(first)} to {count(last)} shown{sought}"


def last_after(window: StepWindow) -> int | None:
    """The number of the step after which the run's last steps begin; None if they are shown, or follow next."""
    if not window.more or window.last is None:
        return None
    after = window.last.number - MOST_STEPS
    return after if after > window.steps[-1].number else None


def _after(visit: Visit) -> int:
    """The number of the step after which the timeline begins."""
    text = visit.request.query_params.get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise problem("bad-filter", detail="`after` must be the number of a step.")
    return int(text)


def _may_see(services: Services, seen: Seen, run: RunRecord) -> bool:
    """As in the run API: the id of an anonymous caller's run gives access to it, so a chain does not tell it."""
    return standing(services.installation, run, seen.caller) in (Standing.OPERATOR, Standing.OWNER)
