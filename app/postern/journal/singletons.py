"""Which run of a singleton may run, over all server processes: claims in the table of idempotency keys, which are
released like these when a server process is gone. Operations for the journal's writer."""

from sqlalchemy import Connection, delete, select

from postern.journal.clock import times_of_key
from postern.journal.idempotency_keys import KEPT_FOR, Claimed, claim
from postern.journal.run import State
from postern.journal.schema import idempotency_keys as keys
from postern.journal.schema import nodes, runs

_UNENDED = (State.WAITING.value, State.RUNNING.value)


def claim_singleton(connection: Connection, scope: str, run_id: str, workflow: str, now: float) -> bool:
    """Claim the singleton for this run. False if another run has it. `scope` is a digest of the workflow and the key. A
    repeated claim for the same run succeeds again. Concurrent claims wait for each other's transaction."""
    if _claimed(connection, scope, run_id, workflow, now):
        return True
    if not _take_from_the_gone(connection, scope):
        return False
    return _claimed(connection, scope, run_id, workflow, now)


def free_singleton(connection: Connection, scope: str, run_id: str) -> None:
    """Release the claim of a run whose code has ended."""
    connection.execute(delete(keys).where(keys.c.scope == scope, keys.c.run_id == run_id, keys.c.status.is_(None)))


def _claimed(connection: Connection, scope: str, run_id: str, workflow: str, now: float) -> bool:
    at = times_of_key(connection, now, KEPT_FOR)
    found = claim(connection, scope, "", run_id, at.now, workflow, fresh_since=at.fresh_since)
    return isinstance(found, Claimed)


def _take_from_the_gone(connection: Connection, scope: str) -> bool:
    """Release the claim of a run that has ended, but whose code went on in a server process that is gone now. Runs that
    had not ended were interrupted, with their claims."""
    row = connection.execute(
        select(runs.c.id, runs.c.state, runs.c.node).join(keys, keys.c.run_id == runs.c.id).where(keys.c.scope == scope)
    ).one_or_none()
    if row is None or row.state in _UNENDED:
        return False
    if connection.execute(select(nodes.c.id).where(nodes.c.id == row.node)).first() is not None:
        return False
    free_singleton(connection, scope, row.id)
    return True
