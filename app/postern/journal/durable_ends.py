"""How durable runs end from outside, and how ended ones go on: cancelled, and resumed. Operations for the journal's
writer, each one transaction.

Who resumes a run needs its request and its checkpoints. So both are kept with the record of a run that did not succeed
(`durable_outcomes.record_outcome`).
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from postern.errors import Problem, problem
from postern.journal.approvals import set_aside_from
from postern.journal.body_form import Form
from postern.journal.durable_limits import OPEN, UNENDED
from postern.journal.durable_outcomes import end_approvals
from postern.journal.durable_runs import NODE, Hold, Phase, Reason
from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.reading.queries import request_cancel
from postern.journal.resumable import NotResumed, why_not_resumed
from postern.journal.run import State
from postern.journal.schema import calls, runs, steps
from postern.journal.search_text import search_form

FROM_START, AFTER_LAST = 0, -1
"""Values of `repeat_from`: all checkpoints are deleted, or none is. Other values are the first that is deleted."""


class Cancelled(StrEnum):
    """What a cancellation did: the run has ended by it, or its owner will end it."""

    ENDED = "ended"
    REQUESTED = "requested"


@dataclass(frozen=True, slots=True)
class Requested:
    """A run of this server process that is to be cancelled, for whom (see `journal.run.actor`). `ended` says that it
    has been ended in the journal, and is only in memory here."""

    run_id: str
    by: str
    ended: bool


def cancel(connection: Connection, run_id: str, now: float, by: str) -> Cancelled | None:
    """Cancel a durable run. One that does not run at the moment ends at once. Its owner, which may have it in memory,
    stays until it has let it go. None if the run has ended, or is none."""
    where = durable_runs.c.run_id == run_id
    phase = connection.execute(select(durable_runs.c.phase).where(where).with_for_update()).scalar()
    if phase in (None, Phase.ENDED.value):
        return None
    if not request_cancel(connection, run_id, now, by):  # it reads Interrupted: see `durable_upkeep.take_up_again`
        taken_up = {"state": State.WAITING.value, "ended_at": None, "cancel_requested_at": now, "cancelled_by": by}
        connection.execute(update(runs).where(runs.c.id == run_id, _interrupted()).values(taken_up))
    if phase == Phase.RUNNING.value:
        return Cancelled.REQUESTED
    gone = {"phase": Phase.ENDED.value, "reason": None, "waits_for": None, "wakes_at": None}
    connection.execute(update(durable_runs).where(where).values(gone))
    write_problem(connection, run_id, State.CANCELLED, problem("run-cancelled"), now)
    return Cancelled.ENDED


def write_problem(connection: Connection, run_id: str, state: State, shown: Problem, now: float) -> None:
    """Write the outcome of a run whose reply is this problem, without its owner."""
    end_approvals(connection, [run_id])
    reply = to_json(shown.document(run_id, run_id)).decode()
    found = connection.execute(select(runs.c.caller_name, runs.c.inputs).where(runs.c.id == run_id)).one_or_none()
    values: dict[str, Any] = {
        "state": state.value,
        "status": shown.status,
        "ended_at": now,
        "outputs": reply,
        "outputs_form": Form.JSON.value,
        "reply_headers": json.dumps([("content-type", "application/problem+json")]),
        "error_type": shown.code,
        "error_message": shown.detail,
        "error_shown": 1,
        "search_text": search_form(*found or (), reply, shown.code),
        "search_error": search_form(shown.detail),
        "kept_bytes": runs.c.kept_bytes + len(reply),
    }
    unended = runs.c.state.in_([State.WAITING.value, State.RUNNING.value, State.INTERRUPTED.value])
    connection.execute(update(runs).where(runs.c.id == run_id, unended).values(values))


def requested(connection: Connection, node: str) -> list[Requested]:
    """The runs that this server process runs, or has in memory while they wait, and that are to be cancelled."""
    table = durable_runs.c
    found = (
        select(table.run_id, runs.c.cancelled_by, table.phase)
        .join(runs, runs.c.id == table.run_id)
        .where(table.owner == node, runs.c.cancel_requested_at.is_not(None))
    )
    return [Requested(row[0], row[1] or "", row[2] == Phase.ENDED.value) for row in connection.execute(found)]


def let_go_ended(connection: Connection, node: str, run_ids: list[str]) -> None:
    """Runs that were ended in the journal are in this process's memory no longer."""
    table = durable_runs.c
    mine = (table.run_id.in_(run_ids), table.owner == node, table.phase == Phase.ENDED.value)
    connection.execute(update(durable_runs).where(*mine).values(owner=None))


def cancel_ownerless(connection: Connection, now: float) -> list[str]:
    """End the runs that were to be cancelled by a process that has lost them meanwhile. Returns their ids."""
    table = durable_runs.c
    found = (
        select(table.run_id, runs.c.cancelled_by)
        .join(runs, runs.c.id == table.run_id)
        .where(
            runs.c.state == State.WAITING.value,
            runs.c.node == NODE,
            runs.c.cancel_requested_at.is_not(None),
            table.owner.is_(None),
            UNENDED,
            OPEN,
        )
    )
    ids = [(row[0], row[1] or "") for row in connection.execute(found)]
    return [run_id for run_id, by in ids if cancel(connection, run_id, now, by) is Cancelled.ENDED]


def resume(connection: Connection, run_id: str, by: str, *, from_start: bool) -> NotResumed | None:
    """A run that failed, timed out, was cancelled or is parked is ready to be claimed: from the step that failed, or
    after its last step, or `from_start`. Its outcome is taken back. `by` is one [tenant, object] pair as JSON. None if
    that was done, else why not."""
    where = durable_runs.c.run_id == run_id
    row = connection.execute(select(durable_runs).where(where).with_for_update()).one_or_none()
    if row is None:
        return NotResumed.INLINE
    state = State(connection.execute(select(runs.c.state).where(runs.c.id == run_id)).scalar_one())
    if (why := why_not_resumed(Phase(row.phase), state, has_request=row.request is not None)) is not None:
        return why
    repeat = _repeat_from(row, from_start=from_start)
    values = {
        "phase": Phase.READY.value,
        "owner": None,
        "deaths": 0,
        "reason": None,
        "failed_step": None,
        "repeat_from": repeat,
        "repeats": (row.repeats or 0) + (repeat not in (None, AFTER_LAST)),
        "reply": None,
        "checkpoints": row.checkpoints if repeat in (None, AFTER_LAST) and row.reason != Reason.LOST else None,
        "resumed_by": json.dumps([*json.loads(row.resumed_by or "[]"), json.loads(by)]),
    }
    connection.execute(update(durable_runs).where(where).values(values))
    _take_back_checkpoints(connection, run_id, repeat)
    if row.reason == Reason.LOST:  # its steps run again
        connection.execute(delete(steps).where(steps.c.run_id == run_id))
    _take_back_outcome(connection, run_id)
    return None


def repeated(connection: Connection, hold: Hold) -> bool:
    """The checkpoints of a resumed run were deleted: they are not deleted once more if its process dies. False if the
    run is not this process's, in this attempt."""
    table = durable_runs.c
    mine = (table.run_id == hold.run_id, table.owner == hold.node, table.attempt == hold.attempt)
    return connection.execute(update(durable_runs).where(*mine).values(repeat_from=None)).rowcount == 1


def _repeat_from(row: Any, *, from_start: bool) -> int | None:
    """From which checkpoint a run is repeated. A parked run that goes on as it is repeats none, and keeps its place."""
    if from_start:
        return FROM_START
    if row.repeat_from is not None:  # it was resumed before, and has not begun since
        return int(row.repeat_from)
    if row.phase == Phase.PARKED.value:
        return None
    return AFTER_LAST if row.failed_step is None else int(row.failed_step)


def _take_back_checkpoints(connection: Connection, run_id: str, repeat: int | None) -> None:
    """What is in the tables of the checkpoints that are deleted: the run takes and asks it again."""
    its_signals = signals.c.run_id == run_id
    if repeat is not None and repeat != AFTER_LAST:
        connection.execute(update(signals).where(its_signals, signals.c.taken_by >= repeat).values(taken_by=None))
        set_aside_from(connection, run_id, repeat)
    unasked = (approvals.c.run_id == run_id, approvals.c.number >= 0, approvals.c.state == "ended")
    connection.execute(update(approvals).where(*unasked).values(state="waiting"))
    again: ColumnElement[bool] = steps.c.run_id == run_id
    made: ColumnElement[bool] = calls.c.run_id == run_id
    if repeat != FROM_START:
        again = and_(again, steps.c.succeeded == 0)
        made = and_(made, or_(calls.c.error_type.is_not(None), calls.c.status >= 400))
    connection.execute(delete(steps).where(again))
    connection.execute(delete(calls).where(made))


def _take_back_outcome(connection: Connection, run_id: str) -> None:
    found = connection.execute(select(runs.c.caller_name, runs.c.inputs).where(runs.c.id == run_id)).one()
    ended = ("status", "ended_at", "outputs", "outputs_form", "reply_headers", "error_type", "error_message")
    nothing = dict.fromkeys((*ended, "error_shown", "error_traceback", "search_error"))
    nothing |= dict.fromkeys(("cancel_requested_at", "cancelled_by"))
    values = {**nothing, "state": State.WAITING.value, "search_text": search_form(*found)}
    connection.execute(update(runs).where(runs.c.id == run_id).values(values))


def _interrupted() -> ColumnElement[bool]:
    return runs.c.state == State.INTERRUPTED.value
