"""Steps: what is retried, when, and what is recorded."""

import asyncio
import functools
import threading
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern import Context, Problem, Retry, workflow
from postern.access import ANYONE
from postern.authoring.call_result import Outgoing
from postern.authoring.context import Services
from postern.authoring.request import Request
from postern.home_loop import HomeLoop
from postern.journal.run import Attempt, State, Step
from postern.runs.runner import Runner
from postern.runs.steps import Steps
from postern.runs.threads import Threads
from tests.runs.contexts import context
from tests.runs.records import Records

pytestmark = pytest.mark.anyio


class Bench:
    """Steps with a test clock, whose sleeps take no time, and the notes that they sent."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, Step]] = []
        self.now = 1000.0
        self.waits: list[float] = []
        self.steps = Steps(
            lambda run_id, step: self.noted.append((run_id, step)),
            now=lambda: self.now,
            sleep=self.sleep,
            uniform=lambda low, high: high,
        )
        self.ctx = context(self.steps.run)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    @property
    def only(self) -> Step:
        [(run_id, step)] = self.noted
        assert run_id == "run-1"
        return step

    def failing(self, *errors: BaseException) -> Any:
        """A function that takes a second each time and raises these errors in turn, then returns its argument."""
        left = list(errors)

        async def call(value: str = "done") -> str:
            self.now += 1
            if left:
                raise left.pop(0)
            return value

        return call


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.steps.close()


async def test_a_step_returns_its_functions_result_and_is_recorded(bench):
    assert await bench.ctx.step(bench.failing(), "value") == "value"
    assert bench.only == Step(1, "call", succeeded=True, attempts=[Attempt(1000, 1001)])


async def test_a_step_is_retried_after_growing_waits_and_each_attempt_is_recorded(bench):
    assert await bench.ctx.step(bench.failing(TimeoutError(), ConnectionResetError(), Problem(503))) == "done"
    assert bench.waits == [7.5, 15, 30]
    assert bench.only.succeeded
    assert bench.only.attempts == [
        Attempt(1000, 1001, "TimeoutError"),
        Attempt(1008.5, 1009.5, "ConnectionResetError"),
        Attempt(1024.5, 1025.5, "Problem"),
        Attempt(1055.5, 1056.5),
    ]


async def test_the_last_error_is_raised_as_it_was_when_all_attempts_failed(bench):
    errors = [TimeoutError(str(n)) for n in range(5)]
    with pytest.raises(TimeoutError) as caught:
        await bench.ctx.step(bench.failing(*errors))
    assert caught.value is errors[-1]
    assert caught.value.__cause__ is None
    assert bench.waits == [7.5, 15, 30, 45]
    assert not bench.only.succeeded
    assert len(bench.only.attempts) == 5


@pytest.mark.parametrize("error", [TypeError("MARKER"), Problem(409), SystemExit(3), asyncio.CancelledError()])
async def test_a_permanent_error_is_not_retried(bench, error):
    with pytest.raises(type(error)) as caught:
        await bench.ctx.step(bench.failing(error))
    assert caught.value is error
    assert [attempt.error for attempt in bench.only.attempts] == [type(error).__name__]
    assert "MARKER" not in repr(bench.only)


async def test_without_a_policy_of_retries_nothing_is_tried_again(bench):
    with pytest.raises(TimeoutError):
        await bench.ctx.step(bench.failing(TimeoutError()), retry=Retry.none())
    assert bench.waits == []


@pytest.mark.parametrize(("requested", "waited"), [("20", 20), ("120", 120), ("7.5", 7.5), ("0", 5)])
async def test_retry_after_is_honoured_and_not_cut(bench, requested, waited):
    await bench.ctx.step(bench.failing(Problem(429, headers={"Retry-After": requested})))
    assert bench.waits == [waited]


@pytest.mark.parametrize(("left", "fits", "does_not"), [(100.0, "99", "101"), (30.0, "29", "30"), (7.0, "6", "44")])
async def test_a_retry_after_beyond_the_timeout_of_the_run_ends_the_step(left, fits, does_not):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    steps = Steps(lambda run_id, step: None, sleep=sleep, left=lambda run_id: left)
    errors = [Problem(429, headers={"Retry-After": after}) for after in (fits, does_not)]
    with pytest.raises(Problem) as caught:
        await context(steps.run).step(Bench().failing(*errors))
    assert (waits, caught.value) == ([float(fits)], errors[1])
    steps.close()


async def test_a_wait_of_the_policy_beyond_the_timeout_of_the_run_ends_the_step_too():
    """Its error says more than that of the timeout."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    steps = Steps(lambda run_id, step: None, sleep=sleep, left=lambda run_id: 5.0)
    with pytest.raises(TimeoutError):
        await context(steps.run).step(Bench().failing(TimeoutError()))
    assert waits == []
    steps.close()


async def test_a_step_in_a_loop_of_the_author_takes_its_thread_in_the_server_s_loop():
    """The timers and turns of the threads belong to that loop."""
    loops = []

    class Noting(Threads):
        async def run(self, name, call, caller="", hold=None):
            loops.append(asyncio.get_running_loop())
            return await super().run(name, call, caller, hold)

    home = HomeLoop()
    home.settle()
    steps = Steps(lambda *_: loops.append(asyncio.get_running_loop()), threads=Noting("step"), home=home)
    found = await asyncio.to_thread(asyncio.run, context(steps.run).step(lambda: "done"))
    assert (found, loops) == ("done", [asyncio.get_running_loop()] * 2)
    steps.close()


async def test_waits_are_drawn_from_a_window():
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    async def sleep(seconds: float) -> None: ...

    steps = Steps(lambda run_id, step: None, sleep=sleep, uniform=uniform)
    with pytest.raises(TimeoutError):
        await context(steps.run).step(Bench().failing(*[TimeoutError()] * 5), retry=Retry(count=2, interval=8))
    assert drawn[:2] == [(5, 8), (8, 16)]
    steps.close()


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_def_runs_in_a_thread_and_is_tried_again_there(bench, wrapped):
    threads = []

    def call(first: int, second: int) -> int:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            raise ConnectionRefusedError
        return first + second

    function = functools.partial(call, 2) if wrapped else call
    assert await bench.ctx.step(function, *((3,) if wrapped else (2, 3))) == 5
    assert threading.main_thread() not in threads
    assert (bench.only.name, len(bench.only.attempts)) == ("call", 2)


async def test_a_lambda_around_an_async_function_is_awaited_and_may_be_named(bench):
    call = bench.failing(TimeoutError())
    assert await bench.ctx.step(lambda: call("x"), name="call") == "x"
    assert (bench.only.name, len(bench.only.attempts)) == ("call", 2)


async def test_a_stop_iteration_in_a_thread_ends_the_step(bench):
    def call() -> None:
        raise StopIteration

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await bench.ctx.step(call)


async def test_steps_side_by_side_are_numbered_in_the_order_of_their_start(bench):
    gates = [asyncio.Event() for _ in range(3)]
    gates[2].set()

    async def call(n: int) -> int:
        await gates[n].wait()
        if n:
            gates[n - 1].set()
        return n

    assert await asyncio.gather(*(bench.ctx.step(call, n, name=f"s{n}") for n in range(3))) == [0, 1, 2]
    assert [(step.number, step.name) for _, step in bench.noted] == [(3, "s2"), (2, "s1"), (1, "s0")]


async def test_fifty_failing_steps_side_by_side_keep_their_own_attempts(bench):
    calls = [bench.failing(*[TimeoutError()] * (n % 4)) for n in range(50)]
    await asyncio.gather(*(bench.ctx.step(call) for call in calls))
    assert sorted(len(step.attempts) for _, step in bench.noted) == sorted(n % 4 + 1 for n in range(50))


async def test_a_step_within_a_step_has_a_record_of_its_own(bench):
    async def outer() -> Any:
        return await bench.ctx.step(bench.failing(TimeoutError()), "inner", name="inner")

    assert await bench.ctx.step(outer) == "inner"
    assert [(step.number, step.name, len(step.attempts)) for _, step in bench.noted] == [
        (2, "inner", 2),
        (1, "outer", 1),
    ]


async def test_the_steps_of_a_run_that_is_not_recorded_are_not_either(bench):
    await context(bench.steps.run, recorded=False).step(bench.failing())
    assert bench.noted == []


async def test_each_retry_is_logged_without_the_text_of_its_error(bench):
    with capture_logs() as logs:
        await bench.ctx.step(bench.failing(TimeoutError("MARKER")), "VALUE")
    assert logs == [
        {
            "event": "step-retried",
            "log_level": "info",
            "run_id": "run-1",
            "trace_id": bench.ctx.trace_id,
            "workflow": "x",
            "step": "call",
            "attempt": 1,
            "error": "TimeoutError",
            "wait": 7.5,
        }
    ]


@pytest.mark.parametrize("wrong", [{"function": "text"}, {"function": print, "retry": 3}])
async def test_an_invalid_function_or_policy_is_an_error_at_once(bench, wrong):
    with pytest.raises(TypeError, match=r"ctx\.step takes a function|retry= takes"):
        await bench.ctx.step(**wrong)


async def test_a_function_called_by_mistake_is_an_error_that_says_so(bench):
    async def call() -> None: ...

    coroutine = call()
    with pytest.raises(TypeError, match="do not call it"):
        await bench.ctx.step(coroutine)
    coroutine.close()


async def test_without_a_server_a_step_is_one_plain_call():
    async def call(value: str) -> str:
        return value

    assert await context().step(call, "x") == "x"
    assert await context().step(str.upper, "x") == "X"


def run_with(noted: list[Step], **more: Any) -> tuple[Runner, Steps]:
    steps = Steps(lambda run_id, step: noted.append(step), **more)
    services = context()._services
    return Runner(
        Services(services.secret, services.connection, services.log, steps.run), Records(), lambda run: None
    ), steps


@pytest.mark.parametrize("moment", ["in the wait", "in the call", "in a call that hides it"])
async def test_a_step_is_cancelled_with_its_run_and_its_attempts_are_recorded(moment):
    noted: list[Step] = []
    calls = []

    async def never(seconds: float) -> None:
        await asyncio.Event().wait()

    async def call() -> None:
        calls.append(1)
        if moment == "in the wait":
            raise TimeoutError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if moment == "in the call":
                raise
            raise TimeoutError from None

    async def slow(ctx: Context) -> None:
        await ctx.step(call)

    runner, steps = run_with(noted, sleep=never)
    run = await runner.start(workflow(timeout=0.05)(slow), ANYONE, Request("POST", "/"), {}, "run-1")
    error = "CancelledError" if moment == "in the call" else "TimeoutError"
    assert run.outcome.state is State.TIMED_OUT
    assert len(calls) == 1
    [step] = noted
    assert (step.succeeded, [attempt.error for attempt in step.attempts]) == (False, [error])
    runner.close()
    steps.close()


async def test_a_stateless_workflow_keeps_no_record_of_its_steps():
    noted: list[Step] = []

    async def call() -> str:
        return "x"

    async def works(ctx: Context) -> str:
        return await ctx.step(call)

    runner, steps = run_with(noted)
    for stateless in (True, False):
        made = workflow(stateless=stateless)(works)
        run = await runner.start(made, ANYONE, Request("POST", "/"), {}, "run-1")
        assert run.outcome.content == b'"x"'
    assert [step.name for step in noted] == ["call"]
    runner.close()
    steps.close()


async def test_an_attempt_counts_its_calls_anew_so_that_each_has_the_key_of_the_attempt_before():
    """The trigger, the step's place in the run and the call's number in the step make the key; nested steps too."""
    sent: list[tuple[str, int | None, int, str]] = []

    async def call(_: Context, outgoing: Outgoing) -> None:
        sent.append((outgoing.trigger, outgoing.step, outgoing.number, outgoing.key))

    bench = Bench()
    bench.ctx._services = replace(bench.ctx._services, call=call)
    errors = [TimeoutError(), None]

    async def inner() -> None:
        await bench.ctx.call("inner")

    async def outer() -> None:
        await bench.ctx.call("first")
        await bench.ctx.step(inner)
        await bench.ctx.step(lambda: bench.ctx.call("in a thread"))
        await bench.ctx.call("first")
        if error := errors.pop(0):
            raise error

    await bench.ctx.call("first")
    await bench.ctx.step(outer)
    await bench.ctx.call("first")
    bench.steps.close()
    keys = [key for *_, key in sent]
    assert keys[1:5] == keys[5:9]
    assert len(set(keys)) == 6
    assert [name for name, *_ in sent[1:5]] == ["first", "inner", "in a thread", "first"]
    assert [number for _, _, number, _ in sent] == list(range(1, 11))
    assert [step for _, step, _, _ in sent] == [None, 1, 2, 3, 1, 1, 4, 5, 1, None]


async def test_the_key_of_a_call_is_its_runs_own_and_its_authors_where_given():
    sent: list[Outgoing] = []

    async def call(_: Context, outgoing: Outgoing) -> None:
        sent.append(outgoing)

    for run_id in ("one", "two", "one"):
        ctx = context()
        ctx._run_id, ctx._services = run_id, replace(ctx._services, call=call)
        await ctx.call("greet", idempotency_key=None if len(sent) < 2 else "mine")
    assert len({outgoing.key for outgoing in sent}) == 3
    assert [(outgoing.own_key, len(outgoing.key)) for outgoing in sent] == [(False, 64), (False, 64), (True, 4)]
    assert "mine" not in repr(sent)


async def test_a_step_does_not_rely_on_what_the_author_assigns():
    bench = Bench()
    bench.ctx.request = None  # type: ignore[assignment]
    assert await bench.ctx.step(lambda: 7) == 7
    assert bench.only.succeeded
