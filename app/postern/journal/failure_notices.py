"""Failed runs of workflows with `on_failure`, and which of them have started a run. Operations for the journal's
writer, but for `waiting`, which only reads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, text

from postern.ids import id_at
from postern.journal.inserts import insert_into
from postern.journal.run import State
from postern.journal.schema import failure_notices, failure_watches, runs

STATES = (State.FAILED, State.TIMED_OUT, State.INTERRUPTED)
"""A run that ends in one of them has failed. Somebody wanted one that was cancelled to end."""

AGE = 24 * 3600.0
"""Seconds after its end in which a failure may start a run. So long all server processes may be away."""
KEPT = 2 * AGE
MOST = 1000
"""Failures that are looked at together."""

SKIPPED = ""
"""The run of a failure that starts none."""

_UNUSUAL = text("runs.state <> 'Succeeded'")
"""The condition of the index by state. SQLite uses it only if the query repeats it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed. `error_message` is what its record has. Times are Unix seconds."""

    run_id: str
    workflow: str
    state: str
    error_type: str
    error_message: str = field(repr=False)
    started_at: float
    ended_at: float
    caller_kind: str
    parent_run_id: str


def watch(connection: Connection, workflows: Collection[str], now: float) -> None:
    """These workflows have `on_failure` now, and no others have. Failures before that start no run."""
    table = failure_watches.c
    connection.execute(delete(failure_watches).where(table.workflow.not_in(sorted(workflows))))
    for name in sorted(workflows):
        connection.execute(
            insert_into(connection.dialect.name, failure_watches)
            .values(workflow=name, since=now)
            .on_conflict_do_nothing()
        )


def waiting(
    connection: Connection,
    workflows: Collection[str],
    now: float,
    run_ids: Collection[str] | None = None,
    lasting: Collection[str] = (),
    longest: float = 0.0,
) -> list[Failure]:
    """The failures that have started no run yet, the oldest runs first: of all runs, or of these. Runs of `lasting`
    workflows may have begun long ago, those of others `longest` seconds before their end at most."""
    column, watches = runs.c, failure_watches.c
    of_these: ColumnElement[bool]
    if run_ids is not None:
        of_these = column.id.in_(sorted(run_ids))
    else:
        of_these = or_(column.workflow.in_(sorted(lasting)), column.id >= id_at(now - AGE - longest))
    noticed = exists().where(failure_notices.c.run_id == column.id)
    found = (
        select(
            *(column.id, column.workflow, column.state, column.error_type, column.error_message),
            *(column.started_at, column.ended_at, column.caller_kind, column.parent_run_id),
        )
        .join(failure_watches, watches.workflow == column.workflow)
        .where(_UNUSUAL, column.state.in_([state.value for state in STATES]), of_these)
        .where(column.workflow.in_(sorted(workflows)), column.ended_at >= watches.since, column.ended_at >= now - AGE)
        .where(~noticed)
        .order_by(column.id)
        .limit(MOST)
    )
    return [
        Failure(row[0], row[1], row[2], row[3] or "", row[4] or "", row[5], row[6], row[7], row[8] or "")
        for row in connection.execute(found)
    ]


def claim(connection: Connection, run_ids: Sequence[str], notice_run_id: str, now: float) -> list[str]:
    """Take these failures for one run, or for none (SKIPPED). One server process gets each of them. Returns those that
    this one has. It may be repeated."""
    table = failure_notices.c
    connection.execute(delete(failure_notices).where(table.claimed_at < now - KEPT))
    rows = [{"run_id": each, "claimed_at": now, "notice_run_id": notice_run_id} for each in sorted(run_ids)]
    connection.execute(insert_into(connection.dialect.name, failure_notices).on_conflict_do_nothing(), rows)
    mine = select(table.run_id).where(table.run_id.in_(run_ids), table.notice_run_id == notice_run_id)
    return list(connection.execute(mine.order_by(table.run_id)).scalars())


def release(connection: Connection, notice_run_id: str) -> None:
    """The run that was to report failures could not start: they wait again. It may be repeated."""
    connection.execute(delete(failure_notices).where(failure_notices.c.notice_run_id == notice_run_id))
