"""A 202: a durable run is on disk, with all that is needed to run it, before its caller hears of it."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection

from postern.access import Caller, StartedBy
from postern.authoring.request import Request
from postern.authoring.workflow import DEFAULT_TIMEOUT, Workflow
from postern.durable.payload import packed
from postern.durable.seals import Seals
from postern.errors import problem
from postern.journal.clock import times_of_key
from postern.journal.durable_runs import Accepted, accept
from postern.journal.idempotency_keys import KEPT_FOR, Claim, Claimed, Kept, claim, forget, settle
from postern.journal.run import Outcome, Run, State
from postern.journal.shares import holder_of
from postern.journal.writing.rows import facts
from postern.runs.claims import earlier_run
from postern.runs.idempotency import Key, keep
from postern.runs.room import Room
from postern.runs.run_records import RunRecords
from postern.runs.runner import Read

RETRY_AFTER = b"1"


class Acceptance:
    """Accepts durable runs. `digest_of` returns the digest of the file that a workflow is in, `most` may wait.
    `accepted` is called when a run was accepted: it can be claimed. `call` reads arguments that need a thread."""

    def __init__(
        self,
        journal: RunRecords,
        room: Room,
        seals: Seals,
        digest_of: Callable[[str], str],
        most: int,
        accepted: Callable[[], object],
        call: Callable[[Run, Read], Awaitable[Mapping[str, Any]]],
        now: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._room = room
        self._seals = seals
        self._digest_of = digest_of
        self._most = most
        self._accepted = accepted
        self._call = call
        self._now = now

    async def start(
        self,
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Mapping[str, Any] | Read,
        run_id: str,
        key: Key | None = None,
        late: object = None,
        resubmitted_from: str = "",
        resubmitted_by: str = "",
        started_by: StartedBy = StartedBy.UNKNOWN,
    ) -> Run:
        """Accept a run, and return it with its 202. If the idempotency key has a run already, return that one. The
        arguments are only checked: the run reads them again when it begins.

        Raises Problem 503 while the server stops or runs cannot be recorded, 429 if too many runs wait, 409 and 422
        for the key."""
        self._room.check_open()
        run = Run(run_id, workflow, caller, request, self._now())
        run.resubmitted_from, run.resubmitted_by = resubmitted_from, resubmitted_by
        chain, trace = request.chain, request.trace
        run.parent_run_id = chain.parent_run_id if chain is not None else ""
        run.trace_id = trace.trace_id if trace is not None else ""
        if callable(arguments):
            await self._call(run, arguments)
        self._journal.admit(run)
        timeout = workflow.timeout if workflow.durable else min(workflow.timeout, DEFAULT_TIMEOUT)
        request_text, version = await self._seals.seal(run_id, "request", packed(run, started_by, timeout))
        kept = Accepted(self._digest_of(workflow.name), request_text, version)
        self._room.check_open()
        run.outcome = accepted_outcome(run_id)
        accepting = partial(accept, facts=facts(run), accepted=kept, most=self._most)
        if key is None:
            if not await self._journal.write(accepting):
                raise too_many()
        else:
            earlier = await self._claim(run, key, accepting)
            if earlier is not None:
                return earlier
        self._accepted()
        return run

    async def _claim(self, run: Run, key: Key, accepting: Callable[[Connection], bool]) -> Run | None:
        outcome = run.outcome
        reply = keep(outcome.status, outcome.headers, outcome.content, secured=False)
        found = await self._journal.write(
            partial(accept_keyed, key=key, facts=facts(run), accepting=accepting, reply=reply)
        )
        if found is None:
            raise too_many()
        return earlier_run(found, run)


def accept_keyed(
    connection: Connection, key: Key, facts: tuple[Any, ...], accepting: Callable[[Connection], bool], reply: Kept
) -> Claim | None:
    """Claim the key for a run and accept the run, in one transaction. The key has its 202 as its reply at once. None if
    too many runs wait. `facts` are the run's."""
    run_id, workflow, (kind, object_id, tenant_id, *_), (address, *_), _, now, *_ = facts
    holder = " ".join(holder_of(kind, tenant_id, object_id, address))
    at = times_of_key(connection, now, KEPT_FOR)
    mine = (key.scope, key.fingerprint, run_id, at.now, workflow, holder, key.before, at.fresh_since)
    found = claim(connection, *mine)
    if isinstance(found, Claimed):
        if not accepting(connection):
            forget(connection, key.scope, run_id)
            return None
        settle(connection, key.scope, run_id, reply)
    return found


def accepted_outcome(run_id: str) -> Outcome:
    """The 202 of a run: where its result will be (RFC 9110, section 15.3.3)."""
    headers = (
        (b"content-type", b"application/json"),
        (b"location", f"/runs/{run_id}/result".encode()),
        (b"retry-after", RETRY_AFTER),
    )
    return Outcome(State.WAITING, 202, to_json({"id": run_id, "state": State.WAITING.value}), headers)


def too_many() -> Exception:
    """The problem of a run that is not accepted because too many wait."""
    return problem("too-many-runs", detail="Too many runs are waiting to be started.", headers={"Retry-After": "5"})
