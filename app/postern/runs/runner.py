"""The inline engine: a workflow runs within the request, under its timeout, while its caller waits."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from postern.access import Caller
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.errors import Problem, problem
from postern.journal.run import Outcome, Run, State
from postern.runs.claims import claim_key, record_end, record_interruption
from postern.runs.deadlines import Deadlines, Task
from postern.runs.idempotency import Key
from postern.runs.outcomes import cut_off, no_thread, raised, succeeded
from postern.runs.run_records import RunRecords
from postern.runs.threads import NotBegun, Threads
from postern.trace import RUN

CANCEL_SECONDS = 5.0
"""How long a cancellation waits for the run to end."""

Read = Callable[[], Mapping[str, Any]]
Late = Callable[[Run | Problem], Awaitable[None]]
Underway = tuple[Task, Run, Key | None, Late | None]


class Abandoned(Exception):
    """A run has ended whose workflow had swallowed its cancellation. Its caller has its reply already."""


class Runner:
    """Starts runs and completes them. Every Context gets `services`. `ended` is called with each run that has ended.
    The journal records the runs of workflows that are not stateless before their replies are sent."""

    def __init__(
        self,
        services: Services,
        journal: RunRecords,
        ended: Callable[[Run], None],
        *,
        now: Callable[[], float] = time,
        log: FilteringBoundLogger | None = None,
        threads: Threads | None = None,
    ) -> None:
        self._log: FilteringBoundLogger = log or structlog.get_logger("postern.runs")
        self._services = services
        self._journal = journal
        self._ended = ended
        self._now = now
        self._running: Counter[str] = Counter()
        self._threads = threads or Threads("workflow")
        self._deadlines = Deadlines(self._abandon)
        self._stopping = False
        self._tasks: dict[str, Underway] = {}
        self._abandoned: Counter[str] = Counter()
        self._answering: set[Task] = set()
        self._cancelled: dict[str, asyncio.Future[None]] = {}
        self._cancelled_by: dict[str, str] = {}

    def drain(self) -> None:
        """Start no new runs from now on. Those in progress continue."""
        self._stopping = True

    @property
    def running(self) -> int:
        """How many runs have not ended, including those in abandoned threads."""
        return self._running.total() + self._threads.abandoned.total()

    @property
    def running_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow have not ended."""
        abandoned = self._threads.abandoned
        return {name: runs + abandoned[name] for name, runs in list(self._running.items())}

    @property
    def abandoned_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow have been cancelled and go on all the same."""
        return {name: self._abandoned[name] + self._threads.abandoned[name] for name in list(self._running)}

    def close(self) -> None:
        """Release the threads. A thread whose workflow never ends is abandoned."""
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
    ) -> Run:
        """Run the workflow to its end, under the id of the request that started it, and return when the end is
        recorded. If the idempotency key has a run already, return that run and start none.

        Raises Problem 503 while the server stops or runs cannot be recorded, 429 at `max_concurrency`, 409 and 422 for
        the key. A failure of the workflow itself is not raised: it is the run's outcome.

        `arguments` is a function if the author's code takes part in reading them. `late` is called with a run whose
        workflow swallowed its cancellation, or with a Problem: `start` itself raises Abandoned when it ends."""
        self._check_room(workflow)
        name = workflow.name
        run = _new(Run(run_id, workflow, caller, request, self._now(), resubmitted_from=resubmitted_from))
        run.resubmitted_by = resubmitted_by
        timeout = workflow.timeout
        if key is not None or callable(arguments):
            ready = await self._prepare(run, arguments, key)
            if isinstance(ready, Run):
                return ready
            arguments, timeout = ready
        elif not workflow.stateless:
            self._journal.begin(run)
        context = self._context(run)
        self._running[name] += 1
        task = self._deadlines.begin(timeout)
        self._tasks[run_id] = (task, run, key, late)
        try:
            if workflow.is_async:
                outcome = succeeded(await workflow.function(context, **arguments), workflow.result)
            else:
                outcome = await self._in_thread(run, context, arguments)
            if task in self._deadlines.expired:  # the workflow swallowed its cancellation
                outcome = self._cut_off(run)
        except BaseException as error:  # SystemExit too: it ends the workflow, never the server
            failure = self._failure(error, run, task)
            if failure is None:
                self._interrupt(run, key)
                raise
            outcome = failure
        finally:
            del self._tasks[run_id]
            self._deadlines.end(task)
            self._running[name] -= 1
        recorded = self._close(run, outcome, key)
        if recorded is not None:
            await recorded
        if self._cancelled:
            self._report_cancelled(run_id)
        return run

    async def _prepare(
        self, run: Run, arguments: Mapping[str, Any] | Read, key: Key | None
    ) -> tuple[Mapping[str, Any], float] | Run:
        """Read the arguments, if the author's code takes part in it, and record that the run begins. Returns the
        arguments and the seconds that are left, or the run that has ended: this one, or an earlier one of its key."""
        timeout = run.workflow.timeout
        if callable(arguments):
            arguments, timeout = await self._read(run, arguments)
            if timeout <= 0:
                return run
        if key is not None:
            earlier = await claim_key(self._journal, run, key)
            if earlier is not None:
                return earlier
        elif not run.workflow.stateless:
            self._journal.begin(run)
        return arguments, timeout

    async def _read(self, run: Run, read: Read) -> tuple[Mapping[str, Any], float]:
        """The arguments of a `def` workflow: in a thread, within the run's timeout. Also returns the seconds that are
        left. With 0 the run has ended and is recorded. If the body is not valid, no run is recorded. Raises
        Problem."""
        name, timeout = run.workflow.name, run.workflow.timeout
        began = monotonic()
        self._running[name] += 1
        task = self._deadlines.begin(timeout)
        self._tasks[run.id] = (task, run, None, None)
        try:
            arguments = await self._threads.run(name, read)
            if (left := timeout - (monotonic() - began)) > 0:
                self._check_room(run.workflow)
                return arguments, left
            run.outcome = self._cut_off(run)
        except asyncio.CancelledError as error:
            outcome = self._failure(error, run, task)
            if outcome is None:
                raise
            run.outcome = outcome
        finally:
            del self._tasks[run.id]
            self._deadlines.end(task)
            self._running[name] -= 1
        if not run.workflow.stateless:
            self._journal.begin(run)
        if (recorded := self._end(run, None)) is not None:
            await recorded
        self._report_cancelled(run.id)
        return {}, 0.0

    def _close(self, run: Run, outcome: Outcome, key: Key | None) -> Awaitable[None] | None:
        if run.ended_at:
            self._abandoned[run.workflow.name] -= 1
            raise Abandoned
        run.outcome = outcome
        return self._end(run, key)

    def _end(self, run: Run, key: Key | None) -> Awaitable[None] | None:
        """The run has ended with its outcome: count it, and record it unless its workflow is stateless."""
        run.ended_at = self._now()
        self._ended(run)
        if run.workflow.stateless:
            return None
        return self._journal.end(run) if key is None else record_end(self._journal, run, key)

    def _abandon(self, task: Task) -> None:
        """Answer for a run whose task swallowed its cancellation. It counts as running until it ends."""
        underway = next((each for each in self._tasks.values() if each[0] is task), None)
        if underway is None:
            return
        _, run, key, late = underway
        run.outcome = self._cut_off(run)
        recorded = self._end(run, key)
        self._abandoned[run.workflow.name] += 1
        self._log.warning(
            "run-abandoned",
            run_id=run.id,
            workflow=run.workflow.name,
            line=run.workflow.line,
            fix="the workflow caught its cancellation: raise asyncio.CancelledError again, or catch Exception only",
        )
        answering = asyncio.get_running_loop().create_task(self._answer_late(run, recorded, late))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer_late(self, run: Run, recorded: Awaitable[None] | None, late: Late | None) -> None:
        ended: Run | Problem = run
        try:
            if recorded is not None:
                await recorded
        except Problem as unrecorded:
            ended = unrecorded
        self._report_cancelled(run.id)
        if late is not None:
            await late(ended)

    def _context(self, run: Run) -> Context:
        """The Context for the workflow's function. Log entries from here on have the run's id."""
        RUN.set((run.id, run.request.trace))
        workflow = run.workflow
        return Context(
            run.request, run.caller, run.id, workflow.name, self._services, not workflow.stateless, workflow.secures
        )

    def _interrupt(self, run: Run, key: Key | None) -> None:
        """Record that the server itself ended the request, unless the run was abandoned before."""
        if run.ended_at:
            return
        run.outcome, run.ended_at = Outcome(State.INTERRUPTED, 503, b""), self._now()
        record_interruption(self._journal, run, key)

    def _check_room(self, workflow: Workflow) -> None:
        if self._stopping:
            raise problem("shutting-down", headers={"Retry-After": "5"})
        name, most = workflow.name, workflow.max_concurrency
        if most is not None and self._running[name] + self._threads.abandoned[name] >= most:
            raise problem("too-many-runs", headers={"Retry-After": "1"})
        if not workflow.is_async and self._threads.exhausted(name):
            raise no_thread()

    async def cancel(self, run_id: str, by: str = "") -> bool:
        """Cancel a run of this process, and return when it has ended. False if it does not run here. A workflow that
        swallows the cancellation is abandoned: it continues, but its outcome is Cancelled. `by` is what `actor` returns
        for the caller who wants it; the first one is recorded."""
        if by and run_id in self._tasks:
            self._cancelled_by.setdefault(run_id, by)
        ended = self.begin_cancel(run_id)
        if ended is None:
            return False
        await asyncio.wait([ended], timeout=CANCEL_SECONDS)
        return True

    def begin_cancel(self, run_id: str) -> "asyncio.Future[None] | None":
        """Cancel a run of this process without waiting. The future is done when the run has ended. None if it does not
        run here."""
        underway = self._tasks.get(run_id)
        if underway is None:
            return None
        if underway[0] in self._deadlines.expired and run_id not in self._cancelled:  # its timeout came first
            return None
        ended = self._cancelled.get(run_id) or asyncio.get_running_loop().create_future()
        self._cancelled[run_id] = ended
        self._deadlines.expire(underway[0])
        return ended

    def underway(self, run_id: str) -> Run | None:
        """A run of this process that has not ended, also if it is not recorded yet."""
        underway = self._tasks.get(run_id)
        return underway[1] if underway is not None else None

    def _report_cancelled(self, run_id: str) -> None:
        self._cancelled_by.pop(run_id, None)
        ended = self._cancelled.pop(run_id, None)
        if ended is not None and not ended.done():
            ended.set_result(None)

    async def _in_thread(self, run: Run, context: Context, arguments: Mapping[str, Any]) -> Outcome:
        """Call a `def` workflow and write its result, both in a thread. A thread cannot be cancelled: after a timeout
        it runs to its end, and counts as running until then."""

        workflow = run.workflow

        def call() -> Outcome | Awaitable[Any]:
            try:
                value = workflow.function(context, **arguments)
                return value if inspect.isawaitable(value) else succeeded(value, workflow.result)
            except BaseException as error:
                return raised(error, run)

        ended = await self._threads.run(workflow.name, call)
        return (
            ended if isinstance(ended, Outcome) else succeeded(await ended, workflow.result)
        )  # a `def` around an `async def`

    def _failure(self, error: BaseException, run: Run, task: Task) -> Outcome | None:
        """The outcome of a run whose workflow raised. None if the error ends the whole request."""
        if isinstance(error, asyncio.CancelledError):
            if self._deadlines.cancelled(task):
                return self._cut_off(run, error)
            if task.cancelling():
                return None
        elif task in self._deadlines.expired:
            return self._cut_off(run)
        return raised(error, run)

    def _cut_off(self, run: Run, error: BaseException | None = None) -> Outcome:
        run.cancelled_by = self._cancelled_by.pop(run.id, "")
        return cut_off(run, by_hand=run.id in self._cancelled, begun=not isinstance(error, NotBegun))


def _new(run: Run) -> Run:
    """The run with the trace and the parent run that its request named."""
    request = run.request
    if request.trace is not None:
        run.trace_id = request.trace.trace_id
    if request.chain is not None:
        run.parent_run_id = request.chain.parent_run_id
    return run
