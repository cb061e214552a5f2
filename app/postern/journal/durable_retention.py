"""What is deleted of durable runs, and when: never anything of a run that has not ended. Operations for the journal's
writer, and conditions for those of `retention` and `storage`."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, update

from postern.journal.durable_runs import Phase
from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.schema import runs


def not_kept(before: float | None = None) -> ColumnElement[bool]:
    """A condition of rows of `runs`: it is no durable run that has not ended, whatever its state reads, and none that
    ended at that moment or later."""
    kept: ColumnElement[bool] = durable_runs.c.phase != Phase.ENDED.value
    if before is not None:
        kept = or_(kept, runs.c.ended_at >= before)
    return ~exists(select(1).where(durable_runs.c.run_id == runs.c.id, kept).correlate(runs))


def delete_durable(connection: Connection, ids: Sequence[str]) -> None:
    """Delete what durable runs have besides their records."""
    for table in (signals, approvals, durable_runs):
        connection.execute(delete(table).where(table.c.run_id.in_(ids)))


def to_discard(connection: Connection, before: float, limit: int) -> list[str]:
    """Runs that succeeded before that moment, and whose checkpoints are not deleted yet."""
    table = durable_runs.c
    old = select(table.run_id).join(runs, runs.c.id == table.run_id).where(table.discard == 1, runs.c.ended_at < before)
    return list(connection.execute(old.order_by(table.run_id).limit(limit)).scalars())


def discarded(connection: Connection, ids: Sequence[str]) -> None:
    """The checkpoints of these runs are deleted."""
    connection.execute(update(durable_runs).where(durable_runs.c.run_id.in_(ids)).values(discard=None))


def delete_lone(connection: Connection, limit: int) -> int:
    """Delete up to `limit` ended runs that have no record any more: the release before deletes records only. Returns
    how many."""
    table = durable_runs.c
    lone = (
        table.phase == Phase.ENDED.value,
        ~exists(select(1).where(runs.c.id == table.run_id).correlate(durable_runs)),
    )
    ids = connection.execute(select(table.run_id).where(*lone).limit(limit)).scalars().all()
    delete_durable(connection, ids)
    return len(ids)


def unknown(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Which of these are no durable runs of the journal: deleted ones, or, in a journal that was restored, later
    ones."""
    found = set(connection.execute(select(durable_runs.c.run_id).where(durable_runs.c.run_id.in_(ids))).scalars())
    return [run_id for run_id in ids if run_id not in found]
