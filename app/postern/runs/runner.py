"""The inline engine: a workflow runs within the request, under its timeout, while its caller waits."""

import asyncio
import contextvars
import inspect
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import time
from typing import Any, Protocol, TypeVar

from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy import Connection

from postern.access import Caller
from postern.authoring.context import Context, Services
from postern.authoring.reply import Reply
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.errors import Problem, header_lines, problem
from postern.journal.idempotency_keys import Claim, Claimed, claim, forget, settle
from postern.journal.run import Outcome, Run, State
from postern.journal.writing.rows import facts, run_row
from postern.journal.writing.statements import remove_run, write_runs
from postern.media_types import is_json
from postern.runs.deadlines import Deadlines, Task
from postern.runs.idempotency import Key, keep, replay
from postern.runs.tracebacks import traceback_of
from postern.trace import RUN

THREADS = 40
"""Concurrent runs of `def` workflows. Further runs wait for a free thread, within their timeout."""

CANCEL_SECONDS = 5.0
"""How long a cancellation waits for the run to end."""

NO_CONTENT = (204, 205)
"""Statuses whose responses have no content (RFC 9110, sections 15.3.5 and 15.3.6). A body from the author is left
out."""

JSON = (b"content-type", b"application/json")
PROBLEM_JSON = (b"content-type", b"application/problem+json")


T = TypeVar("T")
Operation = Callable[[Connection], object]


class RunRecords(Protocol):
    """Records runs."""

    node: str

    def begin(self, run: Run) -> None:
        """Record a run that starts. Raises Problem if it cannot be recorded: the run then does not start."""

    def end(self, run: Run) -> Awaitable[None]:
        """Write the run's end to disk. Raises Problem if that fails."""

    async def write(self, operation: Callable[[Connection], T], undo: Operation | None = None) -> T:
        """Run another operation within the next commit; see Journal."""

    def write_soon(self, operation: Operation) -> None:
        """The same without waiting for it."""


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
    ) -> None:
        self._services = services
        self._journal = journal
        self._ended = ended
        self._now = now
        self._running: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="workflow")
        self._deadlines = Deadlines()
        self._stopping = False
        self._tasks: dict[str, Task] = {}
        self._cancelled: dict[str, asyncio.Future[None]] = {}
        self._cancelled_by: dict[str, str] = {}

    def drain(self) -> None:
        """Start no new runs from now on. Those in progress continue."""
        self._stopping = True

    @property
    def running(self) -> int:
        """How many runs have not ended, including those in abandoned threads."""
        return self._running.total()

    @property
    def running_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow have not ended."""
        return dict(self._running)

    def close(self) -> None:
        """Release the threads. A thread whose workflow never ends is abandoned."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def start(
        self,
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Mapping[str, Any],
        run_id: str,
        key: Key | None = None,
        resubmitted_from: str = "",
        resubmitted_by: str = "",
    ) -> Run:
        """Run the workflow to its end, under the id of the request that started it, and return when the end is
        recorded. If the idempotency key has a run already, return that run and start none.

        Raises Problem 503 while the server stops or runs cannot be recorded, 429 at `max_concurrency`, 409 and 422 for
        the key. A failure of the workflow itself is not raised: it is the run's outcome."""
        self._check_room(workflow)
        name = workflow.name
        run = _new(Run(run_id, workflow, caller, request, self._now(), resubmitted_from=resubmitted_from))
        run.resubmitted_by = resubmitted_by
        recorded = not workflow.stateless
        if key is not None:
            earlier = await self._claim(run, key)
            if earlier is not None:
                return earlier
        elif recorded:
            self._journal.begin(run)
        context = self._context(run)
        self._running[name] += 1
        task = self._deadlines.begin(workflow.timeout)
        self._tasks[run_id] = task
        try:
            if workflow.is_async:
                value = await workflow.function(context, **arguments)
            else:
                value = await self._in_thread(workflow, context, arguments)
            run.outcome = _succeeded(value)
        except BaseException as error:  # SystemExit too: it ends the workflow, never the server
            outcome = self._failure(error, run, task)
            if outcome is None:
                self._interrupt(run, key)
                raise
            run.outcome = outcome
        finally:
            del self._tasks[run_id]
            self._deadlines.end(task)
            if workflow.is_async:
                self._running[name] -= 1
        run.ended_at = self._now()
        self._ended(run)
        if recorded:
            await (self._journal.end(run) if key is None else self._settle(run, key))
        if self._cancelled:
            self._report_cancelled(run_id)
        return run

    def _context(self, run: Run) -> Context:
        """The Context for the workflow's function. Log entries from here on have the run's id."""
        RUN.set((run.id, run.request.trace))
        workflow = run.workflow
        return Context(run.request, run.caller, run.id, workflow.name, self._services, not workflow.stateless)

    def _interrupt(self, run: Run, key: Key | None) -> None:
        """Record that the server itself ended the request."""
        run.outcome, run.ended_at = Outcome(State.INTERRUPTED, 503, b""), self._now()
        if not run.workflow.stateless:
            self._journal.end(run)
        if key is not None:
            self._journal.write_soon(partial(forget, scope=key.scope, run_id=run.id))

    async def _claim(self, run: Run, key: Key) -> Run | None:
        """Record the key and the run together. If the key has a run already, return that run as it ended."""

        claiming = partial(claim_for_run, key=key, run=facts(run), node=self._journal.node, now=run.started_at)
        found = await self._journal.write(claiming, partial(take_back, key=key, run_id=run.id))
        if isinstance(found, Claimed):
            return None
        ended = replay(found)
        state = State.SUCCEEDED if ended.status < 400 else State.FAILED
        earlier = Run(ended.run_id, run.workflow, run.caller, run.request, run.started_at)
        earlier.outcome = Outcome(state, ended.status, ended.content, ended.headers)
        return earlier

    def _settle(self, run: Run, key: Key) -> Awaitable[None]:
        """Record the run's end and the reply of its key in one transaction: the key of an ended run without a reply
        would be in progress for ever."""
        outcome = run.outcome
        kept = keep(outcome.status, outcome.headers, outcome.content, secured=run.workflow.secure_outputs)
        self._journal.write_soon(partial(settle, scope=key.scope, run_id=run.id, kept=kept))
        return self._journal.end(run)

    def _check_room(self, workflow: Workflow) -> None:
        if self._stopping:
            raise problem("shutting-down", headers={"Retry-After": "5"})
        if workflow.max_concurrency is not None and self._running[workflow.name] >= workflow.max_concurrency:
            raise problem("too-many-runs", headers={"Retry-After": "1"})

    async def cancel(self, run_id: str, by: str = "") -> bool:
        """Cancel a run of this process, and return when it has ended. False if it does not run here. A workflow that
        ignores the cancellation continues, and ends as it would have. `by` is what `actor` returns for the caller who
        wants it; the first one is recorded."""
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
        task = self._tasks.get(run_id)
        if task is None:
            return None
        ended = self._cancelled.get(run_id) or asyncio.get_running_loop().create_future()
        self._cancelled[run_id] = ended
        self._deadlines.expire(task)
        return ended

    def _report_cancelled(self, run_id: str) -> None:
        self._cancelled_by.pop(run_id, None)
        ended = self._cancelled.pop(run_id, None)
        if ended is not None and not ended.done():
            ended.set_result(None)

    async def _in_thread(self, workflow: Workflow, context: Context, arguments: Mapping[str, Any]) -> Any:
        """Call a `def` workflow. A thread cannot be cancelled: after a timeout it runs to its end, and counts against
        `max_concurrency` until then."""
        loop = asyncio.get_running_loop()

        def ended(_: object) -> None:
            loop.call_soon_threadsafe(self._running.subtract, (workflow.name,))

        def call() -> Any:
            try:
                return workflow.function(context, **arguments)
            except StopIteration as error:  # a future cannot carry it: its waiter would never wake
                raise RuntimeError("StopIteration left the workflow") from error

        future = self._threads.submit(contextvars.copy_context().run, call)
        future.add_done_callback(ended)
        value = await asyncio.wrap_future(future)
        return await value if inspect.isawaitable(value) else value  # a `def` around an `async def`

    def _failure(self, error: BaseException, run: Run, task: Task) -> Outcome | None:
        """The outcome of a run whose workflow raised. None if the error ends the whole request."""
        run_id, workflow = run.id, run.workflow
        if isinstance(error, Problem):
            return _failed(State.FAILED, error, run_id, error.code, error.detail, error.reason, shown=True)
        if isinstance(error, asyncio.CancelledError):
            if self._deadlines.cancelled(task):
                by_hand = run_id in self._cancelled
                ended = problem("run-cancelled" if by_hand else "timed-out")
                state = State.CANCELLED if by_hand else State.TIMED_OUT
                run.cancelled_by = self._cancelled_by.pop(run_id, "")
                return _failed(state, ended, run_id, ended.code, ended.detail, shown=True)
            if task.cancelling():
                return None
        kind, message = type(error).__name__, _message(error)
        outcome = _failed(State.FAILED, problem("workflow-failed"), run_id, kind, message, _place(error, workflow))
        file = workflow.function.__code__.co_filename
        outcome.error_traceback = traceback_of(error, file, messages=not workflow.secures)
        return outcome


def _new(run: Run) -> Run:
    """The run with the trace and the parent run that its request named."""
    request = run.request
    if request.trace is not None:
        run.trace_id = request.trace.trace_id
    if request.chain is not None:
        run.parent_run_id = request.chain.parent_run_id
    return run


def claim_for_run(connection: Connection, key: Key, run: tuple[Any, ...], node: str, now: float) -> Claim:
    """Claim the key for a run, and record the run as Running with it. `run` has the run's facts."""
    found = claim(connection, key.scope, key.fingerprint, run[0], now)
    if isinstance(found, Claimed):
        write_runs(connection, [run_row(run, node)])
    return found


def take_back(connection: Connection, key: Key, run_id: str) -> None:
    """Undo the claim of a run that did not start."""
    forget(connection, key.scope, run_id)
    remove_run(connection, run_id)


def _succeeded(value: Any) -> Outcome:
    if not isinstance(value, Reply):
        return Outcome(State.SUCCEEDED, 200, to_json(value, inf_nan_mode="null"), (JSON,))
    headers = header_lines(value.headers)
    own_type = dict(headers).get(b"content-type", b"")
    if value.status in NO_CONTENT:
        content, media_type = b"", b""
    elif isinstance(value.body, bytes):
        content, media_type = value.body, b"application/octet-stream"
    elif isinstance(value.body, str) and own_type and not is_json(own_type):
        content, media_type = value.body.encode(), own_type
    else:
        content, media_type = to_json(value.body, inf_nan_mode="null"), b"application/json"
    if content and not own_type:
        headers.append((b"content-type", media_type))
    return Outcome(State.SUCCEEDED, value.status, content, tuple(headers))


def _failed(
    state: State, problem: Problem, run_id: str, kind: str, message: str, place: str = "", *, shown: bool = False
) -> Outcome:
    headers = (PROBLEM_JSON, *header_lines(problem.headers))
    content = to_json(problem.document(run_id, run_id), inf_nan_mode="null", serialize_unknown=True)
    return Outcome(state, problem.status, content, headers, kind, message, place, shown)


def _message(error: BaseException) -> str:
    """An exception's text, for the record. Its own methods may raise anything."""
    try:
        return str(error)
    except Exception:
        return ""


def _place(error: BaseException, workflow: Workflow) -> str:
    """The line of the author's files that failed, without the exception's text."""
    if isinstance(error, PydanticSerializationError):
        return "(the result cannot be written as JSON)"
    module = workflow.function.__code__.co_filename
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module]
    return f"at {module}:{lines[-1] if lines else workflow.line}"
