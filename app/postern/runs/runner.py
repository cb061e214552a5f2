"""The inline engine: a workflow runs within the request, under its timeout, while its caller waits."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic, time
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from postern.access import Caller, StartedBy
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.authoring.uses import limited
from postern.authoring.workflow import Workflow
from postern.errors import Problem, problem
from postern.journal.idempotency_keys import Claim
from postern.journal.run import Outcome, Run, State
from postern.runs.claims import (
    claim_key,
    earlier_run,
    nothing,
    record_end,
    record_interruption,
    unrecorded,
    withdraw,
)
from postern.runs.concurrency import KeyPlaces, Mark, plain_mark
from postern.runs.deadlines import Deadlines, Task
from postern.runs.idempotency import Key
from postern.runs.in_thread import outcome_in_thread
from postern.runs.origin import holder, with_origin
from postern.runs.outcomes import cut_off, raised, succeeded
from postern.runs.room import Room, shutting_down
from postern.runs.run_records import RunRecords
from postern.runs.streaming import EventStreams, check_replied, ended_stream, is_replied, sent_by
from postern.runs.threads import NotBegun, Threads
from postern.runs.underway import Late, Underway
from postern.trace import RUN, SECURED

Read = Callable[[], Mapping[str, Any]]


class Abandoned(Exception):
    """A run has ended whose caller has its reply already: its workflow had swallowed its cancellation, or its reply
    was a stream."""


class Runner:
    """Starts runs and completes them. Every Context gets `services`. `ended` is called with each run that has ended.
    The journal records the runs of workflows that are not stateless before their replies are sent. `pages` is the
    address of the pages for people, "" if there are none."""

    def __init__(
        self,
        services: Services,
        journal: RunRecords,
        ended: Callable[[Run], None],
        *,
        now: Callable[[], float] = time,
        log: FilteringBoundLogger | None = None,
        threads: Threads | None = None,
        pages: str = "",
        mark: Mark = plain_mark,
    ) -> None:
        self._log: FilteringBoundLogger = log or structlog.get_logger("postern.runs")
        self._services = services
        self._journal = journal
        self._ended = ended
        self._now = now
        self._threads = threads or Threads("workflow")
        self._pages = pages
        self._room, self._places = Room(self._threads), KeyPlaces(journal, mark)
        self._send = partial(sent_by, journal, self._threads, self._places.hold)
        self._deadlines = Deadlines(self._abandon)
        self._underway = Underway(self._deadlines)
        self._entries = self._underway.entries
        self._events = EventStreams(self._entries)
        self.end_events = self._events.end
        self._answering: set[Task] = set()
        self.cancel = self._underway.cancel
        self.begin_cancel = self._underway.begin_cancel
        self.underway = self._underway.find
        self.left = self._underway.left

    def drain(self) -> None:
        """Start no new runs from now on, also none that wait. Those in progress continue, but streams of events end,
        as by `end_events`: their readers connect again, elsewhere."""
        self._room.closed = True
        self._events.close()

    @property
    def room(self) -> Room:
        """How many runs are in progress."""
        return self._room

    @property
    def running(self) -> int:
        """How many runs have not ended, including those in abandoned threads."""
        return self._room.running

    def close(self) -> None:
        """Release the threads, and abandon those whose workflow never ends."""
        self._threads.close()

    async def start(
        self,
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Mapping[str, Any] | Read,
        run_id: str,
        key: Key | None = None,
        late: Late | None = None,
        resubmitted_from: str = "",
        resubmitted_by: str = "",
        started_by: StartedBy = StartedBy.UNKNOWN,
    ) -> Run:
        """Run the workflow to its end, under the id of the request that started it, and return when the end is
        recorded. If the idempotency key has a run already, return that run and start none. Raises Problem 503 while the
        server stops or runs cannot be recorded, 429 at `max_concurrency`, 409 and 422 for the key. A failure of the
        workflow itself is not raised: it is the run's outcome. `arguments` is a function if the author's code takes
        part in reading them. `late` sends a reply while its run goes on. It also gets a run whose workflow swallowed
        its cancellation, or a Problem: `start` then raises Abandoned at the end. `started_by`: `access.principal`."""
        self._room.take(workflow)
        try:
            run = Run(run_id, workflow, caller, request, self._now())
            from_another = resubmitted_from or request.trace or request.chain
            run = with_origin(run, resubmitted_from, resubmitted_by) if from_another else run
            timeout = workflow.timeout
            if key is not None or callable(arguments) or workflow.keyed:
                ready = await self._prepare(run, arguments, key)
                if isinstance(ready, Run):
                    return ready
                arguments, timeout = ready
            elif not workflow.stateless:
                self._journal.begin(run)
            context, task = self._context(run, started_by), self._deadlines.begin(timeout)
            self._entries[run_id] = (task, run, key, late)
            try:
                if workflow.is_async:
                    outcome = succeeded(await workflow.function(context, **arguments), workflow.result)
                else:
                    outcome = await self._in_thread(run, context, arguments)
                outcome = outcome if outcome.stream is None else await self._send(run, outcome, late)
                if task in self._deadlines.expired:  # the workflow swallowed its cancellation
                    outcome = self._cut_off(run)
            except BaseException as error:  # SystemExit too: it ends the workflow, never the server
                outcome = self._failure(error, run, task, key)
            finally:
                del self._entries[run_id]
                self._deadlines.end(task)
        finally:
            self._leave(workflow, run_id)
        recorded = self._end(run, outcome, key)
        try:
            if recorded is not None and (found := await recorded) is not None:
                return self._superseded(run, found)
        except asyncio.CancelledError:
            await self._recorded()
        except Problem as shown:
            check_replied(run, unrecorded(shown, run, key))
        finally:  # also where the end cannot be recorded
            self._underway.report(run_id)
        return run

    def _leave(self, workflow: Workflow, run_id: str) -> None:
        """Give back the place of a run."""
        self._room.taken[workflow.name] -= 1
        if workflow.keyed:
            self._places.leave(run_id)

    async def _prepare(
        self, run: Run, arguments: Mapping[str, Any] | Read, key: Key | None
    ) -> tuple[Mapping[str, Any], float] | Run:
        """Read the arguments, if the author's code takes part in it, take the place of the concurrency key, and record
        that the run begins. Returns the arguments and the seconds that are left, or the run that has ended: this one,
        or an earlier one of its idempotency key."""
        timeout = run.workflow.timeout
        if callable(arguments):
            arguments, timeout = await self.read(run, arguments, timeout)
            if timeout <= 0:
                return run
            self._room.check_open()
        if run.workflow.keyed and (error := self._places.enter(run, arguments)) is not None:
            return await self.fail(run, error)
        if key is not None or run.workflow.singleton:
            earlier = await claim_key(self._journal, run, key, await self._places.scope(run))
            if earlier is not None:
                return earlier
            if self._room.closed:
                withdraw(self._journal, run, key)
                raise shutting_down()
        elif not run.workflow.stateless:
            self._journal.begin(run)
        return arguments, timeout

    async def read(self, run: Run, read: Read, seconds: float) -> tuple[Mapping[str, Any], float]:
        """The arguments of a `def` workflow: in a thread, within so many `seconds`. Also returns the seconds that are
        left. With 0 the run has ended and is recorded. If the body is not valid, no run is recorded. Raises
        Problem."""
        began = monotonic()
        task = self._deadlines.begin(seconds)
        self._entries[run.id] = (task, run, None, None)
        try:
            arguments = await self._threads.run(run.workflow.name, read, holder(run))
            if (left := seconds - (monotonic() - began)) > 0:
                return arguments, left
            run.outcome = self._cut_off(run)
        except asyncio.CancelledError as error:
            run.outcome = self._failure(error, run, task, None)
        finally:
            del self._entries[run.id]
            self._deadlines.end(task)
        await self._record_unbegun(run)
        return {}, 0.0

    async def fail(self, run: Run, error: BaseException) -> Run:
        """The run, which has ended because code of its author failed before it began, as it is recorded."""
        run.outcome = raised(error, run, self._pages)
        await self._record_unbegun(run)
        return run

    async def _record_unbegun(self, run: Run) -> None:
        if not run.workflow.stateless:
            self._journal.begin(run)
        try:
            if (recorded := self._end(run, run.outcome, None)) is not None:
                await recorded
        except Problem as shown:
            raise unrecorded(shown, run, None) from None
        finally:
            self._underway.report(run.id)

    async def _recorded(self) -> None:
        """Wait for the record of a run whose code has cancelled its own task, so that it gets the reply of its outcome.
        What is written later than the run is written when the run is."""
        written = asyncio.get_running_loop().create_task(self._journal.write(nothing))
        while not written.done():
            if self._room.closed:
                raise shutting_down()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([written])
        await written

    def _end(self, run: Run, outcome: Outcome, key: Key | None) -> Awaitable[Claim | None] | None:
        """The run has ended with this outcome: count it, and record it unless its workflow is stateless. Raises
        Abandoned if it was answered for before."""
        if run.ended_at:
            self._room.abandoned[run.workflow.name] -= 1
            raise Abandoned
        run.outcome, run.ended_at = outcome, self._now()
        if run.sending is not None:
            run.outcome = ended_stream(run, run.outcome)
        self._ended(run)
        if run.workflow.stateless:
            return None
        return self._journal.end(run) if key is None else record_end(self._journal, run, key)

    def _abandon(self, task: Task) -> None:
        """Answer for a run whose task swallowed its cancellation. It counts as running until it ends."""
        entry = self._underway.of_task(task)
        if entry is None:
            return
        _, run, key, late = entry
        recorded = self._end(run, self._cut_off(run), key)
        self._room.abandoned[run.workflow.name] += 1
        self._log.warning(
            "run-abandoned",
            run_id=run.id,
            workflow=run.workflow.name,
            line=run.workflow.line,
            fix="the workflow caught its cancellation: raise asyncio.CancelledError again, or catch Exception only",
        )
        answering = asyncio.get_running_loop().create_task(self._answer_late(run, recorded, late, key))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer_late(
        self, run: Run, recorded: Awaitable[Claim | None] | None, late: Late | None, key: Key | None
    ) -> None:
        ended: Run | Problem = run
        try:
            if recorded is not None and (found := await recorded) is not None:
                ended = self._superseded(run, found)
        except Problem as shown:
            ended = unrecorded(shown, run, key)
        self._underway.report(run.id)
        if late is not None:
            await late(ended)

    def _superseded(self, run: Run, found: Claim) -> Run:
        """What the key has, of a run whose process was silent for so long that it got another one. Raises Problem."""
        self._log.warning("run-superseded", run_id=run.id, workflow=run.workflow.name)
        return earlier_run(found, run) or run

    def _context(self, run: Run, started_by: StartedBy) -> Context:
        """The Context for the workflow's function. Log entries from here on have the run's id."""
        RUN.set((run.id, run.request.trace))
        workflow, services = run.workflow, self._services
        if secured := workflow.secure_inputs or workflow.secure_outputs:
            SECURED.set(True)
        if workflow.connections is not None or workflow.secrets is not None:
            services = limited(services, workflow.connections, workflow.secrets)
        recorded = not workflow.stateless
        return Context(run.request, run.caller, run.id, workflow.name, services, recorded, secured, started_by)

    def _interrupt(self, run: Run, key: Key | None) -> None:
        """Record that the server itself ended the request. Raises Abandoned if the run was abandoned before."""
        if run.ended_at:
            raise Abandoned
        run.outcome, run.ended_at = ended_stream(run, Outcome(State.INTERRUPTED, 503, b"")), self._now()
        record_interruption(self._journal, run, key)

    def _in_thread(self, run: Run, context: Context, arguments: Mapping[str, Any]) -> Awaitable[Outcome]:
        hold = self._places.hold(run.id)
        return outcome_in_thread(run, context, arguments, self._threads, hold, self._room, self._pages)

    def _failure(self, error: BaseException, run: Run, task: Task, key: Key | None) -> Outcome:
        """The outcome of a run whose workflow raised: also of one that cancelled its own task. Raises Problem if a
        server that stops has cancelled it. Classes are compared without `isinstance`, which may run code of the
        author."""
        kind = type(error)
        cancelled = issubclass(kind, asyncio.CancelledError) and task.cancelling() > 0
        stops = self._room.closed or run.id in self._events.cut
        if cancelled and stops and not self._deadlines.cancelled(task):
            self._interrupt(run, key)
            if is_replied(run):
                raise Abandoned from None
            raise shutting_down() from None
        if issubclass(kind, GeneratorExit):  # if it is a future's, it closes this coroutine, which can await no more
            self._end(run, raised(error, run, self._pages), key)
            raise problem("workflow-failed", run_id=run.id) from None
        begun = kind is not NotBegun
        if task in self._deadlines.expired:
            return self._cut_off(run, begun=begun)
        outcome = raised(error, run, self._pages)
        outcome.begun = begun
        return outcome

    def _cut_off(self, run: Run, *, begun: bool = True) -> Outcome:
        run.cancelled_by = self._underway.take_actor(run.id)
        return cut_off(run, by_hand=self._underway.is_cancelled(run.id), begun=begun)
