"""Steps of a run: functions that are retried after transient errors, and recorded with every attempt."""

import asyncio
import inspect
import math
import random
from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from postern.authoring.context import Context
from postern.authoring.plain import type_name
from postern.authoring.retry_policy import Retry
from postern.call_chain import PART, Part, part_of
from postern.home_loop import HomeLoop
from postern.journal.run import Attempt, Step
from postern.journal.secured import kept_step, kept_type
from postern.runs.threads import NotBegun, Threads, holder_name
from postern.telemetry.spans import span
from postern.transient_errors import retry_after, worth_retrying

LONGEST_NAME = 200

Note = Callable[[str, Step], None]


class Steps:
    """Runs steps. `note(run_id, step)` is called for each step that has ended, also after an error, and must not raise.
    A step is recorded with its name, its times and the types of its errors, without texts, arguments or results.

    `now` is the time of day in seconds since 1970. `uniform` returns a random number between two. `left` returns the
    seconds until a run times out. Its threads belong to the event loop `home`.
    """

    def __init__(
        self,
        note: Note,
        *,
        now: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        log: FilteringBoundLogger | None = None,
        threads: Threads | None = None,
        left: Callable[[str], float] = lambda _: math.inf,
        home: HomeLoop | None = None,
    ) -> None:
        self._note = note
        self._left = left
        self._home = home or HomeLoop()
        self._now = now
        self._sleep = sleep
        self._uniform = uniform
        self._log: FilteringBoundLogger = log or structlog.get_logger("postern.runs")
        self._threads = threads or Threads("step", log=log)

    def close(self) -> None:
        """Release the threads. A thread whose function never ends is abandoned."""
        self._threads.close()

    async def run(
        self,
        ctx: Context,
        number: int,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        retry: Retry,
        name: str,
        note: Note | None = None,
        again: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """Call the function and return its result. After a transient error, retry if the policy allows. The last error
        is raised unchanged. A cancellation ends the step at once. `note` gets the record of this step in place of the
        usual one, and at once. `again` is called before each further attempt, and may raise."""
        step = Step(number, kept_step(name, function, secured=ctx.secured)[:LONGEST_NAME], succeeded=False, attempts=[])
        outside = part_of(ctx.run_id, Part(ctx.run_id, steps=number - 1))
        outside.steps += 1
        path = (*outside.path, outside.steps)
        call = (
            partial(function, *args)
            if inspect.iscoroutinefunction(function)
            else partial(self._in_thread, ctx, partial(function, *args))
        )
        if again is not None:
            call = partial(_after, again, call, step.attempts)
        attempt = partial(self._attempt, call, step.attempts, partial(Part, ctx.run_id, number, path), ctx.secured)
        try:
            with span(f"step {step.name}", hides_errors=ctx.secured) as going:
                value: Any = await self._insist(ctx, step.name, retry, attempt)
                going.set("postern.attempts", len(step.attempts))
            step.succeeded = True
        finally:
            if note is not None:
                note(ctx.run_id, step)
            elif ctx.recorded:
                self._home.soon(partial(self._note, ctx.run_id, step))
        return value

    async def _insist(self, ctx: Context, name: str, retry: Retry, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """The result of the first attempt that succeeds. Nearly all need one, so what retries is made after that."""
        worthwhile, first = _retry_decision(), list[BaseException]()
        try:
            return await attempt()
        except BaseException as error:
            if not worthwhile(error):
                raise
            first.append(error)

        async def another() -> Any:
            if first:
                raise first.pop()
            return await attempt()

        return await AsyncRetrying(
            stop=partial(self._enough, ctx.run_id, retry),
            retry=retry_if_exception(worthwhile),
            wait=partial(self._wait, retry),
            sleep=self._sleep,
            before_sleep=partial(self._log_retry, ctx, name),
            reraise=True,
        )(another)

    async def _attempt(
        self, call: Callable[[], Awaitable[Any]], attempts: list[Attempt], part: Callable[[], Part], secured: bool
    ) -> Any:
        """One attempt, with its times and the type of its error. Its calls are counted from the beginning."""
        began = self._now()
        before = PART.set(part())
        try:
            value = await call()
        except BaseException as error:
            attempts.append(Attempt(began, self._now(), kept_type(error, secured=secured)))
            raise
        finally:
            PART.reset(before)
        attempts.append(Attempt(began, self._now()))
        return value

    async def _in_thread(self, ctx: Context, call: Callable[[], Any]) -> Any:
        """Call a `def` in a thread. A thread cannot be cancelled: after the run's timeout it runs to its end. Further
        steps of the workflow wait for a free thread, within the run's timeout."""

        def guarded() -> Any:
            try:
                return call()
            except (StopIteration, GeneratorExit) as error:  # a future cannot carry them: its waiter would not go on
                raise RuntimeError(f"{type_name(error)} left the step") from error

        try:
            threads = self._threads.run(ctx.workflow, guarded, holder_name(ctx.caller, ctx.client_address))
            value = await self._home.run(threads)
        except NotBegun as error:  # the run itself has begun
            raise asyncio.CancelledError from error
        return await value if inspect.isawaitable(value) else value  # a `def` or lambda around an `async def`

    def _wait(self, retry: Retry, state: RetryCallState) -> float:
        """How long to wait, in seconds: by the response's Retry-After, else by the policy."""
        requested = retry_after(_error(state), self._now())
        return self._uniform(*retry.window(state.attempt_number)) if requested is None else retry.requested(requested)

    def _enough(self, run_id: str, retry: Retry, state: RetryCallState) -> bool:
        """Whether this was the last attempt: by the policy, or because the next one is beyond the run's timeout."""
        return state.attempt_number > retry.count or state.upcoming_sleep >= self._left(run_id)

    def _log_retry(self, ctx: Context, name: str, state: RetryCallState) -> None:
        self._log.info(
            "step-retried",
            run_id=ctx.run_id,
            trace_id=ctx.trace_id,
            workflow=ctx.workflow,
            step=name,
            attempt=state.attempt_number,
            error=kept_type(_error(state), secured=ctx.secured),
            wait=round(state.upcoming_sleep, 3),
        )


def _retry_decision() -> Callable[[BaseException], bool]:
    """The function that decides whether to retry after an error. It does not retry if the task was cancelled meanwhile,
    even if the step's function raised another error then."""
    before = _cancellations()
    return lambda error: _cancellations() <= before and worth_retrying(error)


def _cancellations() -> int:
    """How often the current task was cancelled. Nothing keeps the task itself: its error would refer to what does."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _error(state: RetryCallState) -> BaseException:
    """The error of the last attempt. It is called after a failure only."""
    error = state.outcome.exception() if state.outcome is not None else None
    if error is None:
        raise RuntimeError("the attempt did not fail")
    return error


async def _after(
    again: Callable[[], Awaitable[None]], call: Callable[[], Awaitable[Any]], earlier: list[Attempt]
) -> Any:
    if earlier:
        await again()
    return await call()
