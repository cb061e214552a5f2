"""Durable runs of a backup that was restored: what they did since the backup is not known, so none of them goes on by
itself. The words are those of `durable_runs`, which cannot be imported here: restores are below it."""

from typing import Any

from sqlalchemy import Connection, Update, func, select, update

from postern.journal.durable_tables import durable_runs
from postern.journal.run import State
from postern.journal.schema import runs

READY, PARKED, ENDED = "ready", "parked", "ended"
RESTORED, LOST = "restored", "checkpoints-missing"

_RESTORED = (durable_runs.c.phase == PARKED, durable_runs.c.reason == RESTORED)


def park_restored(connection: Connection) -> None:
    """Park all runs that have not ended."""
    unended = select(durable_runs.c.run_id).where(durable_runs.c.phase != ENDED)
    state = {"state": State.WAITING.value, "ended_at": None}
    connection.execute(update(runs).where(runs.c.id.in_(unended)).values(state))
    moved = _to(PARKED, RESTORED).where(durable_runs.c.phase != ENDED)
    connection.execute(moved)


def count_restored(connection: Connection) -> int:
    """How many are parked so."""
    return connection.execute(select(func.count()).where(*_RESTORED)).scalar_one()


def note_lost(connection: Connection) -> int:
    """There are no checkpoints: those of them that had begun would begin anew. Returns how many."""
    begun = _to(PARKED, LOST).where(*_RESTORED, durable_runs.c.attempt > 0)
    return connection.execute(begun.values(checkpoints=None)).rowcount


def go_on(connection: Connection) -> int:
    """Nothing was done since the backup, says the operator: they are not parked any more. Returns how many."""
    return connection.execute(_to(READY, None).where(*_RESTORED)).rowcount


def _to(phase: str, reason: str | None) -> Update:
    values: dict[str, Any] = {"phase": phase, "owner": None, "reason": reason, "waits_for": None, "wakes_at": None}
    return update(durable_runs).values(values)
