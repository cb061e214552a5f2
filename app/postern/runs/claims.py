"""How runs and their idempotency keys are written to the journal: both in one transaction."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

from sqlalchemy import Connection

from postern.journal.idempotency_keys import Claim, Claimed, Kept, claim, forget, settle
from postern.journal.run import Outcome, Run, State
from postern.journal.secured import keeps_reply
from postern.journal.shares import holder_of
from postern.journal.writing.rows import facts, run_row
from postern.journal.writing.statements import remove_run, write_runs
from postern.runs.idempotency import Key, Reply, keep, replay, unread_reply
from postern.runs.run_records import RunRecords


async def claim_key(journal: RunRecords, run: Run, key: Key) -> Run | None:
    """Record the key and the run together. If the key has a run already, return that run as it ended."""
    journal.admit(run)
    claiming = partial(claim_for_run, key=key, run=facts(run), node=journal.node, now=run.started_at)
    return earlier_run(await journal.write(claiming, partial(take_back, key=key, run_id=run.id)), run)


def record_end(journal: RunRecords, run: Run, key: Key) -> Awaitable[None]:
    """Record the run's end and the reply of its key in one transaction: the key of an ended run without a reply would
    be in progress for ever. A run that did not begin gives its key back: nothing was done."""
    outcome = run.outcome
    if not outcome.begun:
        return journal.end(run, partial(forget, scope=key.scope, run_id=run.id))
    secured = not keeps_reply(run.workflow, outcome)
    reply = unread_reply(outcome.status, outcome.headers, outcome.content, secured=secured)
    return journal.end(run, partial(settle_reply, scope=key.scope, run_id=run.id, reply=reply))


def record_interruption(journal: RunRecords, run: Run, key: Key | None) -> None:
    """Record that the server itself ended the request."""
    if not run.workflow.stateless:
        journal.end(run)
    if key is not None:
        journal.write_soon(partial(forget, scope=key.scope, run_id=run.id))


def withdraw(journal: RunRecords, run: Run, key: Key) -> None:
    """The run does not begin after its key was claimed: as if it had never been."""
    journal.write_soon(partial(take_back, key=key, run_id=run.id))


def nothing(_: Connection) -> None:
    """Write nothing: what was queued before is written when this is."""


def settle_reply(connection: Connection, scope: str, run_id: str, reply: Kept | Reply) -> None:
    """Store the reply of a run that has ended. In the writer's process, because it is read to its end for secrets."""
    settle(connection, scope, run_id, reply if isinstance(reply, Kept) else keep(*reply, secured=False))


def claim_for_run(connection: Connection, key: Key, run: tuple[Any, ...], node: str, now: float) -> Claim:
    """Claim the key for a run, and record the run as Running with it. `run` has the run's facts."""
    kind, object_id, tenant_id, *_ = run[2]
    holder = " ".join(holder_of(kind, tenant_id, object_id, run[3][0]))
    found = claim(connection, key.scope, key.fingerprint, run[0], now, run[1], holder, key.before)
    if isinstance(found, Claimed):
        write_runs(connection, [run_row(run, node)])
    return found


def take_back(connection: Connection, key: Key, run_id: str) -> None:
    """Undo the claim of a run that did not start."""
    forget(connection, key.scope, run_id)
    remove_run(connection, run_id)


def earlier_run(found: Claim, run: Run) -> Run | None:
    """The run that the key has already, as it ended. None if the key was claimed for this run."""
    if isinstance(found, Claimed):
        return None
    ended = replay(found)
    state = State.SUCCEEDED if ended.status < 400 else State.FAILED
    earlier = Run(ended.run_id, run.workflow, run.caller, run.request, run.started_at)
    earlier.outcome = Outcome(state, ended.status, ended.content, ended.headers)
    return earlier
