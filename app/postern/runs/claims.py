"""How runs and their idempotency keys are written to the journal: both in one transaction."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

from sqlalchemy import Connection

from postern.errors import Problem, problem
from postern.journal.body_form import Form
from postern.journal.clock import times_of_key
from postern.journal.idempotency_keys import KEPT_FOR, Claim, Claimed, Kept, claim, forget, settle
from postern.journal.run import Outcome, Run, State
from postern.journal.secured import keeps_reply
from postern.journal.shares import holder_of
from postern.journal.singletons import claim_singleton, free_singleton
from postern.journal.writing.rows import facts, run_row
from postern.journal.writing.statements import remove_run, take_outcome_back, write_runs
from postern.runs.concurrency import too_many
from postern.runs.idempotency import Key, Reply, keep, replay, unread_reply
from postern.runs.run_records import RunRecords

_WRITTEN_LATER = "The run has ended, but the database does not answer. Its outcome is recorded as soon as it does."


async def claim_key(journal: RunRecords, run: Run, key: Key | None, singleton: str = "") -> Run | None:
    """Record the key and the run together, and claim the `singleton`, whose digest it is, for the run. If the key has a
    run already, return that run as it ended. Raises Problem 429 if another run has the singleton."""
    journal.admit(run)
    more: dict[str, Any] = {"key": key, "singleton": singleton}
    claiming = partial(claim_for_run, run=facts(run), node=journal.node, now=run.started_at, **more)
    found = await journal.write(claiming, partial(take_back, run_id=run.id, **more))
    if found is None:
        raise too_many(run.workflow)
    return earlier_run(found, run)


async def record_begun(journal: RunRecords, run: Run) -> None:
    """Record a run as Running now. Raises Problem if it cannot be recorded."""
    await journal.write(partial(running, run=facts(run), node=journal.node))


def running(connection: Connection, run: tuple[Any, ...], node: str) -> None:
    """Record a run as Running, unless it is recorded. `run` has the run's facts."""
    write_runs(connection, [run_row(run, node)])


def record_end(journal: RunRecords, run: Run, key: Key) -> Awaitable[Claim | None]:
    """Record the run's end and the reply of its key in one transaction: the key of an ended run without a reply would
    be in progress for ever. A run that did not begin gives its key back: nothing was done. If the run was taken for
    interrupted and its key has another run by now, the end does not count, and the key's Claim is returned."""
    outcome = run.outcome
    if not outcome.begun:
        return journal.end(run, partial(forget, scope=key.scope, run_id=run.id))
    secured = not keeps_reply(run.workflow, outcome)
    reply = unread_reply(outcome.status, outcome.headers, outcome.content, secured=secured)
    if outcome.stream is not None:
        reply = Kept(outcome.status, Form.CUT)
    settling = partial(settle_reply, key=key, run_id=run.id, reply=reply, holder=_holder(run))
    return journal.end(run, partial(settling, workflow=run.workflow.name, now=run.ended_at))


def record_interruption(journal: RunRecords, run: Run, key: Key | None) -> None:
    """Record that the server itself ended the request."""
    if not run.workflow.stateless:
        journal.end(run)
    if key is not None:
        journal.write_soon(partial(forget, scope=key.scope, run_id=run.id))


def withdraw(journal: RunRecords, run: Run, key: Key | None) -> None:
    """The run does not begin after its key was claimed: as if it had never been. A singleton's claim is released with
    the run's place."""
    journal.write_soon(partial(take_back, key=key, run_id=run.id))


def nothing(_: Connection) -> None:
    """Write nothing: what was queued before is written when this is."""


def settle_reply(
    connection: Connection, key: Key, run_id: str, reply: Kept | Reply, holder: str, workflow: str, now: float
) -> Claim | None:
    """Store the reply of a run that has ended. In the writer's process, because it is read to its end for secrets.

    If its process was silent for long, another one may have interrupted the run and released its key. A key that is
    free still is claimed again, so that repeated requests get this reply. If it has another run, this run stays
    Interrupted, and what the key has is returned."""
    kept = reply if isinstance(reply, Kept) else keep(*reply, secured=False)
    if settle(connection, key.scope, run_id, kept):
        return None
    at = times_of_key(connection, now, KEPT_FOR)
    mine = (key.scope, key.fingerprint, run_id, at.now, workflow, holder, key.before, at.fresh_since)
    found = claim(connection, *mine)
    if isinstance(found, Claimed):
        settle(connection, key.scope, run_id, kept)
        return None
    take_outcome_back(connection, run_id)
    return found


def unrecorded(shown: Problem, run: Run, key: Key | None) -> Problem:
    """The problem for the caller of a run that has ended and could not be recorded in time. It has the run's id. It
    asks for a repetition only if there is a key, because the run would run again otherwise."""
    if shown.code != "journal-unavailable":
        return shown
    headers = {"X-Run-Id": run.id, **({"Retry-After": "2"} if key is not None else {})}
    return problem(shown.code, detail=_WRITTEN_LATER, reason=shown.reason, headers=headers, run_id=run.id)


def claim_for_run(
    connection: Connection, key: Key | None, run: tuple[Any, ...], node: str, now: float, singleton: str = ""
) -> Claim | None:
    """Claim the key for a run, and the singleton, and record the run as Running with them. `run` has the run's facts.
    None if another run has the singleton: then the key is free too."""
    found: Claim = Claimed()
    if key is not None:
        kind, object_id, tenant_id, *_ = run[2]
        holder = " ".join(holder_of(kind, tenant_id, object_id, run[3][0]))
        at = times_of_key(connection, now, KEPT_FOR)
        mine = (key.scope, key.fingerprint, run[0], at.now, run[1], holder, key.before, at.fresh_since)
        found = claim(connection, *mine)
    if not isinstance(found, Claimed):
        return found
    if singleton and not claim_singleton(connection, singleton, run[0], run[1], now):
        if key is not None:
            forget(connection, key.scope, run[0])
        return None
    write_runs(connection, [run_row(run, node)])
    return found


def take_back(connection: Connection, key: Key | None, run_id: str, singleton: str = "") -> None:
    """Undo the claims of a run that did not start."""
    if key is not None:
        forget(connection, key.scope, run_id)
    if singleton:
        free_singleton(connection, singleton, run_id)
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


def _holder(run: Run) -> str:
    """Who stores the key of a run."""
    caller = run.caller
    return " ".join(holder_of(caller.kind, caller.tenant_id, caller.object_id, run.request.client_address))
