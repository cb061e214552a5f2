"""A 202: a durable run is on disk, with all that is needed to run it, before its caller hears of it."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from postern.access import Caller, StartedBy
from postern.authoring.request import Request
from postern.authoring.workflow import DEFAULT_TIMEOUT, Workflow
from postern.connections.faults import ConnectionFault
from postern.durable.payload import packed
from postern.durable.seals import Seals
from postern.durable.waiting import Waiting
from postern.errors import problem
from postern.journal.clock import times_of_key
from postern.journal.durable_acceptance import Accepted, accept, remove_unclaimed
from postern.journal.durable_runs import Claimed as ClaimedRun
from postern.journal.idempotency_keys import KEPT_FOR, Claim, Claimed, Kept, claim, forget, release, settle
from postern.journal.run import Outcome, Run, State
from postern.journal.shares import holder_of
from postern.journal.writing.rows import facts
from postern.journal.writing.statements import remove_run
from postern.preferences import prefers_async
from postern.runs.claims import earlier_run
from postern.runs.concurrency import kept_key, key_of_run
from postern.runs.idempotency import Key, keep
from postern.runs.origin import with_origin
from postern.runs.room import Room
from postern.runs.run_records import RunRecords
from postern.runs.runner import Read

RETRY_AFTER = b"1"
TOO_MANY = "Too many runs are waiting to be started."

T = TypeVar("T")


class Records(RunRecords, Protocol):
    """What acceptance needs of the journal."""

    async def read(self, query: Callable[[Connection], T]) -> T:
        """The result of a query; see Journal."""


class Places(Protocol):
    """The places in which runs are executed here."""

    def reserve(self, workflow: Workflow) -> str | None:
        """Take a place for a run that is about to be accepted. Returns this server process, which `begin_reserved` is
        to be told of what became of it; None if the run has to wait to be claimed, here or elsewhere."""

    def begin_reserved(self, claimed: ClaimedRun | None) -> None:
        """The run whose place was reserved was accepted, and begins; None if it was not."""

    def accepted(self) -> None:
        """A run was accepted that can be claimed."""


class Acceptance:
    """Accepts durable runs. `digest_of` returns the digest of the file that a workflow is in, `most` may wait. While
    `places` has a free one, a run is claimed with its acceptance: in the same statements. `read` reads arguments that
    need a thread, within so many seconds (`Runner.read`). `fail` records a run whose concurrency key could not be had
    (`Runner.fail`)."""

    def __init__(
        self,
        journal: Records,
        room: Room,
        seals: Seals,
        digest_of: Callable[[str], str],
        most: int,
        places: Places,
        read: Callable[[Run, Read, float], Awaitable[tuple[Mapping[str, Any], float]]],
        now: Callable[[], float],
        fail: Callable[[Run, BaseException], Awaitable[Run]],
    ) -> None:
        self._journal = journal
        self._room = room
        self._seals = seals
        self._digest_of = digest_of
        self._waiting = Waiting(journal.read, most)
        self._places = places
        self._read = read
        self._now = now
        self._fail = fail

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
        arguments are only checked: the run reads them again when it begins. If they cannot be read in time, the run has
        ended, and is recorded.

        Raises Problem 503 while the server stops or runs cannot be recorded or sealed, 429 if too many runs wait, 409
        and 422 for the key."""
        self._room.check_open()
        run = with_origin(Run(run_id, workflow, caller, request, self._now()), resubmitted_from, resubmitted_by)
        self._room.accepting += 1
        try:
            if callable(arguments):
                arguments, left = await self._read(run, arguments, min(workflow.timeout, DEFAULT_TIMEOUT))
                if left <= 0:
                    return run
            concurrency_key = None
            if workflow.keyed:
                try:
                    plain_key = key_of_run(run, arguments)
                except BaseException as error:  # SystemExit too
                    return await self._fail(run, error)
                concurrency_key = await kept_key(workflow, plain_key, self._seals.mark)
            self._journal.admit(run)
            who = holder_of(caller.kind, caller.tenant_id, caller.object_id, request.client_address)
            if not await self._waiting.take(who):
                return await self._earlier(run, key)
            waits = False
            try:
                accepted = await self._accept(run, started_by, concurrency_key)
                earlier = await self._recorded(run, key, accepted)
                waits = earlier is None and accepted.node is None
            finally:
                self._waiting.settle(who, accepted=waits)
        finally:
            self._room.accepting -= 1
        if waits:
            self._places.accepted()
        return earlier or run

    async def _accept(self, run: Run, started_by: StartedBy, concurrency_key: str | None) -> Accepted:
        """What is kept of a run. If there is a place for it here, that is reserved."""
        workflow = run.workflow
        timeout = workflow.timeout if workflow.durable else min(workflow.timeout, DEFAULT_TIMEOUT)
        try:
            kept, version = await self._seals.seal(run.id, "request", packed(run, started_by, timeout))
        except ConnectionFault as fault:
            raise problem("durable-key-unavailable", reason=str(fault), headers={"Retry-After": "5"}) from None
        self._room.check_open()
        node = self._places.reserve(workflow)
        return Accepted(self._digest_of(workflow.name), kept, version, concurrency_key, node)

    async def _recorded(self, run: Run, key: Key | None, accepted: Accepted) -> Run | None:
        """Record a run. If a place is reserved for it, it begins there, or the place is free again."""
        if accepted.node is None:
            return await self._record(run, key, accepted)
        claimed = None
        try:
            earlier = await self._record(run, key, accepted)
            if earlier is None:
                digest, request, key_version, *_ = accepted
                claimed = ClaimedRun(run.id, run.workflow.name, 1, digest, key_version, request)
            return earlier
        finally:
            self._places.begin_reserved(claimed)

    async def _record(self, run: Run, key: Key | None, accepted: Accepted) -> Run | None:
        """Record the run with all that is needed to run it, and its key with its 202, in one transaction. Returns the
        run that the key has already. If the caller is told that nothing was recorded, it is taken back."""
        run.outcome = accepted_outcome(run.id, preferred=prefers_async(run.request._prefer))
        row = facts(run)
        accepting = partial(accept, facts=row, accepted=accepted)
        undo = partial(take_back, run_id=run.id, scope="" if key is None else key.scope, node=accepted.node)
        if key is None:
            await self._journal.write(accepting, undo)
            return None
        outcome = run.outcome
        reply = keep(outcome.status, outcome.headers, outcome.content, secured=False)
        claiming = partial(accept_keyed, key=key, facts=row, accepting=accepting, reply=reply)
        return earlier_run(await self._journal.write(claiming, undo), run)

    async def _earlier(self, run: Run, key: Key | None) -> Run:
        """No more runs may wait. The run that the key has already, which a repeated request gets all the same."""
        found = None if key is None else await self._journal.write(partial(look_up, key=key, facts=facts(run)))
        earlier = None if found is None else earlier_run(found, run)
        if earlier is None:
            raise problem("too-many-runs", detail=TOO_MANY, headers={"Retry-After": "5"})
        return earlier


def accept_keyed(
    connection: Connection, key: Key, facts: tuple[Any, ...], accepting: Callable[[Connection], object], reply: Kept
) -> Claim:
    """Claim the key for a run and accept the run. The key has its 202 as its reply at once. `facts` are the run's."""
    found = _claimed(connection, key, facts)
    if isinstance(found, Claimed):
        accepting(connection)
        settle(connection, key.scope, facts[0], reply)
    return found


def look_up(connection: Connection, key: Key, facts: tuple[Any, ...]) -> Claim:
    """What the key has; Claimed if it has nothing, and it is not claimed then."""
    found = _claimed(connection, key, facts)
    if isinstance(found, Claimed):
        forget(connection, key.scope, facts[0])
    return found


def take_back(connection: Connection, run_id: str, scope: str, node: str | None = None) -> None:
    """Undo what was recorded after its caller had got an error, unless the run has been claimed by then. `node` is the
    server process for which it was recorded, and which has not begun it."""
    if remove_unclaimed(connection, run_id, node):
        remove_run(connection, run_id)
        if scope:
            release(connection, scope, run_id)


def _claimed(connection: Connection, key: Key, facts: tuple[Any, ...]) -> Claim:
    run_id, workflow, (kind, object_id, tenant_id, *_), (address, *_), _, now, *_ = facts
    holder = " ".join(holder_of(kind, tenant_id, object_id, address))
    at = times_of_key(connection, now, KEPT_FOR)
    return claim(connection, key.scope, key.fingerprint, run_id, at.now, workflow, holder, key.before, at.fresh_since)


def accepted_outcome(run_id: str, *, preferred: bool) -> Outcome:
    """The 202 of a run: where its result will be (RFC 9110, section 15.3.3). If its caller `preferred` not to wait, it
    says so (RFC 7240, section 3)."""
    headers = (
        (b"content-type", b"application/json"),
        (b"location", f"/runs/{run_id}/result".encode()),
        (b"retry-after", RETRY_AFTER),
        *(((b"preference-applied", b"respond-async"),) if preferred else ()),
    )
    return Outcome(State.WAITING, 202, b'{"id":"%b","state":"Waiting"}' % run_id.encode(), headers)
