"""The table of schedules: which due time of a workflow was decided about last. Operations for the journal's writer.

A due time is claimed by moving the row from an earlier time to it. So one server process starts the run of each time,
whatever their clocks say, and no time is claimed again after a clock was set back.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select, update

from postern.journal.inserts import insert_into
from postern.journal.schema import schedules
from postern.journal.writing.rows import run_row
from postern.journal.writing.statements import remove_run, write_runs

AHEAD = 3 * 3600.0
"""Seconds by which a decided time may be in the future. More means that a clock was wrong then, and is not any more:
the schedule begins again (Vixie's cron has the same limit)."""

STARTED = "started"
MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Claim:
    """A due time of a workflow with this schedule, and what it is claimed for. `run_id` is "" if no run starts. `run`
    has the facts of a run that is recorded with the claim, `node` is its server process. Times are Unix seconds."""

    workflow: str
    schedule: str
    due: float
    outcome: str = STARTED
    run_id: str = ""
    run: tuple[Any, ...] | None = None
    node: str = ""


def meet(connection: Connection, workflow: str, schedule: str, now: float) -> float:
    """The time after which this workflow is due: that of the last decision, or when this schedule was first seen, which
    is now if it is new or has changed. It may be repeated."""
    table = schedules.c
    new = {"workflow": workflow, "schedule": schedule, "since": now}
    begun = insert_into(connection.dialect.name, schedules).values(new)
    other = or_(table.schedule != schedule, table.since > now + AHEAD, func.coalesce(table.last_due, 0.0) > now + AHEAD)
    again = {"schedule": schedule, "since": now, "last_due": None, "run_id": None, "outcome": None}
    connection.execute(begun.on_conflict_do_update(index_elements=[table.workflow], set_=again, where=other))
    row = connection.execute(select(table.since, table.last_due).where(table.workflow == workflow)).one()
    return float(max(row.since, row.last_due or 0.0))


def claim(connection: Connection, wanted: Claim) -> bool:
    """Claim a due time. False if a server process has claimed it, or a later one, or the schedule is another one by
    now. The run is recorded as Running with the claim: if its process is killed before it starts, the record becomes
    Interrupted. A repeated claim for the same run succeeds again."""
    table = schedules.c
    mine = and_(table.last_due == wanted.due, table.run_id == wanted.run_id) if wanted.run_id else false()
    values = {"last_due": wanted.due, "run_id": wanted.run_id or None, "outcome": wanted.outcome}
    *its, earlier = _undecided(wanted)
    if connection.execute(update(schedules).where(*its, or_(earlier, mine)).values(values)).rowcount != 1:
        return False
    if wanted.run is not None:
        write_runs(connection, [run_row(wanted.run, wanted.node)])
    return True


def is_undecided(connection: Connection, wanted: Claim) -> bool:
    """Whether a due time could be claimed now."""
    return connection.execute(select(schedules.c.workflow).where(*_undecided(wanted))).first() is not None


def _undecided(wanted: Claim) -> tuple[ColumnElement[bool], ...]:
    table = schedules.c
    earlier = or_(table.last_due.is_(None), table.last_due < wanted.due)
    return table.workflow == wanted.workflow, table.schedule == wanted.schedule, earlier


def give_back(connection: Connection, claimed: Claim, outcome: str | None = None, before: float | None = None) -> None:
    """The run of a claimed time did not start: it has no record. The time stays decided, with this outcome. Without
    one, the time is due again: `before` is the time of the decision before. It may be repeated."""
    table = schedules.c
    mine = table.workflow == claimed.workflow, table.last_due == claimed.due, table.run_id == claimed.run_id
    values: dict[str, Any] = {"run_id": None, "outcome": outcome}
    if outcome is None:
        values["last_due"] = before
    connection.execute(update(schedules).where(*mine).values(values))
    remove_run(connection, claimed.run_id)
