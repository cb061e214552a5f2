"""What a caller does with a run: see it, cancel it, start it again. The run API and the console share it, so access and
the lines in the log are the same."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from postern.access import ANYONE, Caller, StartedBy
from postern.api.access import Standing, is_anonymous, is_operator, standing
from postern.api.durable_actions import DurableActions, Write
from postern.api.first_run import started_by
from postern.api.resubmit import caller_again, check_resubmit, edited, key_of_resubmit
from postern.api.run_audit import RunAudit
from postern.catalog import Snapshot
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.journal.durable_runs import NODE
from postern.journal.reading.queries import find_run, request_cancel
from postern.journal.reading.records import RunRecord
from postern.journal.reading.resubmits import lineage_of
from postern.journal.run import Run, State, actor
from postern.journal.shares import Allotment, Holder, holder_of
from postern.runs.idempotency import Key
from postern.settings.installation import Installation

__all__ = ["Cancel", "Read", "Resubmit", "RunActions", "Seen", "Underway", "Write", "see"]

T = TypeVar("T")
MOST_BACKGROUND = 1000
"""Runs that go on after their responses: no connection of a client limits how many there are. A caller may have as many
as are free, and all anonymous callers half."""
LOOK_AGAIN = 0.05
"""Seconds between two looks for the record of a run that was just started."""
RETRY_AFTER = {"Retry-After": "1"}


class Read(Protocol):
    """Reads from the journal for this caller, and returns the query's result."""

    async def __call__(self, query: Callable[[Connection], T], caller: Holder, /) -> T: ...


class Cancel(Protocol):
    """Cancels a run of this process for a caller (see `journal.run.actor`), and returns when its end is recorded. False
    if the run is not here."""

    async def __call__(self, run_id: str, by: str, /) -> bool: ...


class Underway(Protocol):
    """Returns a run of this process that has not ended, also if the journal does not have it yet."""

    def __call__(self, run_id: str, /) -> RunRecord | None: ...


class Resubmit(Protocol):
    """Runs the current version of a workflow with the inputs of a record, for this caller and under this id, and
    returns when the run's end is recorded. `by` is who resubmits it, and `started_by` decides for whom the run may act.
    If the idempotency key has a run already, that one is returned. Raises Problem if the inputs are no longer valid."""

    async def __call__(
        self, record: RunRecord, caller: Caller, run_id: str, by: Caller, started_by: StartedBy, key: Key | None, /
    ) -> Run: ...


class Resubmitted(NamedTuple):
    """The new run, and whether it was there already, because of its idempotency key."""

    record: RunRecord
    replayed: bool


class Seen(NamedTuple):
    """A run, the caller that may see it (ANYONE without a valid token), and the caller's relation to it. `actor` is who
    sends the request, from `address`: it differs where a valid token came for an anonymous caller's run, which any
    client may see."""

    record: RunRecord
    caller: Caller
    standing: Standing
    actor: Caller
    address: str

    @property
    def holder(self) -> Holder:
        """Whose share of the readers a read for this request takes."""
        return holder_of(self.actor.kind, self.actor.tenant_id, self.actor.object_id, self.address)

    @property
    def own(self) -> bool:
        """Whether the run was started by who sends the request."""
        return (self.actor.tenant_id, self.actor.object_id) == (self.record.tenant_id, self.record.object_id)

    @property
    def private(self) -> bool:
        """Whether the caller sees what only operators see of a run."""
        return self.standing is Standing.OPERATOR

    @property
    def acts(self) -> bool:
        """Whether the caller sees who cancelled or resubmitted the run."""
        return self.standing in (Standing.OPERATOR, Standing.OWNER)


def see(installation: Installation, record: RunRecord | None, sender: Caller, address: str) -> Seen:
    """The run as this sender may see it. Raises Problem `unknown-run` both if there is no such run and if it is another
    caller's."""
    caller = ANYONE if is_anonymous(record) and not is_operator(installation, sender) else sender
    what = standing(installation, record, caller)
    if record is None or what is Standing.NONE:
        raise problem("unknown-run")
    return Seen(record, caller, what, sender, address)


@dataclass(frozen=True, slots=True)
class RunActions:
    """What callers do with runs. `read` and `write` are the journal's. `audit` notes it in the audit log. `durable` are
    the actions on durable runs."""

    read: Read
    write: Write
    cancel_here: Cancel
    start_again: Resubmit
    snapshot: Callable[[], Snapshot]
    log: FilteringBoundLogger
    now: Callable[[], float] = time.time
    audit: RunAudit = field(default_factory=RunAudit)
    durable: DurableActions | None = None
    background: set["asyncio.Future[Run]"] = field(default_factory=set)
    in_background: Allotment = field(default_factory=lambda: Allotment(MOST_BACKGROUND))

    def note_view(self, seen: Seen) -> None:
        """Log, and note in the audit log, that an operator reads the run of another caller."""
        if not seen.own and seen.private:
            self._note("run-viewed", seen)
            self.audit.viewed(seen.actor, seen.record, seen.address)

    async def cancel(self, seen: Seen) -> RunRecord:
        """Cancel a run: here, or by a recorded request to the process that runs it. The record afterwards: the run may
        not have ended yet. Raises Problem `run-ended`."""
        run_id = seen.record.id
        if seen.record.ended:
            raise problem("run-ended")
        by = actor(seen.actor)
        if seen.record.node == NODE:
            await self._of_durable.cancel(run_id, seen.record.workflow, by)
        else:
            here = await self.cancel_here(run_id, by)
            if not here and not await self.write(partial(request_cancel, run_id=run_id, now=self.now(), by=by)):
                raise problem("run-ended")
        self._note("run-cancel-requested", seen)
        self.audit.cancelled(seen.actor, seen.record, seen.address)
        record = await self.read(partial(find_run, run_id=run_id), seen.holder) or seen.record
        if record.ended and record.state is not State.CANCELLED:  # it ended by itself meanwhile
            raise problem("run-ended")
        return record

    async def resume(self, seen: Seen, *, from_start: bool) -> RunRecord:
        """Run a durable run again that has not succeeded, or is parked. For operators only. Returns its record. Raises
        Problem `forbidden` and `cannot-resume`."""
        if seen.standing is not Standing.OPERATOR:
            raise problem("forbidden")
        trigger = self.snapshot().triggers.get(seen.record.workflow)
        await self._of_durable.resume(seen.record.id, trigger, seen.actor, from_start=from_start)
        self._note("run-resumed", seen)
        self.audit.resumed(seen.actor, seen.record, seen.address, from_start=from_start)
        return await self.read(partial(find_run, run_id=seen.record.id), seen.holder) or seen.record

    @property
    def _of_durable(self) -> DurableActions:
        return self.durable or DurableActions(self.write, now=self.now)

    async def resubmit(self, seen: Seen, *, goes_on: bool, body: str | None = None) -> RunRecord:
        """Start a new run with the inputs of this one, or with another `body`, on the current code. Returns its record
        when it has ended; if it `goes_on`, as soon as it is recorded."""
        return (await self.resubmit_once(seen, goes_on=goes_on, body=body)).record

    async def resubmit_once(self, seen: Seen, *, goes_on: bool, body: str | None = None, key: str = "") -> Resubmitted:
        """The same. With an idempotency key a repeated request starts none, and returns the run that was started."""
        trigger = self.snapshot().triggers.get(seen.record.workflow)
        check_resubmit(seen.record, trigger, seen.standing, seen.caller)
        record = seen.record if body is None else edited(seen.record, body)
        run_id, by = new_id(), seen.holder
        if goes_on and not self.in_background.admits(by):
            detail = "Too many runs that were resubmitted in the background have not ended."
            raise problem("too-many-runs", detail=detail, headers=RETRY_AFTER)
        caller = caller_again(seen.record, trigger, seen.caller)
        once = key_of_resubmit(seen.record, trigger.workflow, seen.actor, key, body) if key and trigger else None
        how = await self._started_by(seen, caller, record)
        running = asyncio.ensure_future(self.start_again(record, caller, run_id, seen.actor, how, once))
        if goes_on:
            self.background.add(running)
            self.in_background.take(by)
            running.add_done_callback(partial(self._forget, by))
        else:
            with suppress(Problem):  # it is raised below
                await running
        try:
            started = await self._once_recorded(run_id, running, by)
        except Problem as shown:
            earlier = str(shown.members.get("run_id", ""))
            going = shown.code == "run-in-progress" and goes_on
            if once is None or not earlier or not (going or shown.code == "reply-not-kept"):
                raise
            started = await self._record_of(earlier, by)
        if started.id != run_id:
            return Resubmitted(started, True)
        self._note("run-resubmitted", seen)
        self.audit.resubmitted(seen.actor, seen.record, seen.address, started)
        return Resubmitted(started, False)

    async def _started_by(self, seen: Seen, caller: Caller, record: RunRecord) -> StartedBy:
        """How the new run is started: it acts for nobody unless a person started it."""
        lineage = [seen.record]
        if seen.record.resubmitted_from:
            lineage = await self.read(partial(lineage_of, record=seen.record), seen.holder)
        return started_by(caller, record, lineage)

    async def _once_recorded(self, run_id: str, running: "asyncio.Future[Run]", by: Holder) -> RunRecord:
        """The record of a run that was started, as soon as there is one. Raises the Problem that ended it earlier."""
        while True:
            await asyncio.wait({running}, timeout=LOOK_AGAIN)
            if running.done():
                return await self._record_of(running.result().id, by)
            record = await self.read(partial(find_run, run_id=run_id), by)
            if record is not None:
                return record

    async def _record_of(self, run_id: str, by: Holder) -> RunRecord:
        record = await self.read(partial(find_run, run_id=run_id), by)
        if record is None:
            raise problem("journal-unavailable", reason="a run that was started is not recorded")
        return record

    def _forget(self, by: Holder, running: "asyncio.Future[Run]") -> None:
        """A run that went on after its response has ended. Its failure is on its record."""
        self.background.discard(running)
        self.in_background.take(by, -1)
        if not running.cancelled():
            running.exception()

    def _note(self, event: str, seen: Seen) -> None:
        """Log what a caller did to a run. The id of an anonymous caller's run gives access to it, so it is left out."""
        self.log.info(
            event,
            run_id="" if is_anonymous(seen.record) else seen.record.id,
            workflow=seen.record.workflow,
            caller=seen.actor.kind,
            object_id=seen.actor.object_id,
            client_id=seen.actor.client_id,
            client_address=seen.address,
        )
