"""Code of authors that blocks, swallows its cancellation, or runs where nobody looks for it: in a model or a reply."""

import asyncio
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, field_serializer, field_validator
from structlog.testing import capture_logs

from postern import Context, Problem, Reply, Request, workflow
from postern.access import ANYONE, StartedBy
from postern.authoring.context import Services
from postern.errors import problem
from postern.journal.idempotency_keys import forget
from postern.journal.run import Run, State
from postern.runs.apart import apart
from postern.runs.claims import record_end, settle_reply
from postern.runs.idempotency import Key
from postern.runs.outcomes import cut_off
from postern.runs.runner import Abandoned, Runner
from postern.runs.steps import Steps
from postern.runs.threads import Threads
from postern.triggers.read import arguments
from tests.runs.records import Records

pytestmark = pytest.mark.anyio

REQUEST = Request("POST", "/triggers/x", client_address="192.0.2.1")
WHERE: list[str] = []
LET_GO = threading.Event()


def note() -> bool:
    WHERE.append("loop" if threading.current_thread() is threading.main_thread() else "thread")
    return False


class Noted(BaseModel):
    x: int = 1

    @field_validator("x")
    @classmethod
    def reads(cls, value: int) -> int:
        note()
        if value == 9:
            LET_GO.wait(10)
        if value == 8:
            raise SystemExit
        return value

    @field_serializer("x")
    def writes(self, value: int) -> int:
        note()
        return value


class Told(Exception):
    def __str__(self) -> str:
        note()
        return "told"


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    WHERE.clear()
    LET_GO.clear()
    yield
    LET_GO.set()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def ended() -> list[Run]:
    return []


@pytest.fixture
def runner(records: Records, ended: list[Run]) -> Iterator[Runner]:
    async def secret(name: str) -> str:
        return name

    def connection(ctx: Context, name: str) -> Any:
        raise LookupError(name)

    services = Services(secret, connection, structlog.get_logger("test"))
    runner = Runner(services, records, ended.append, threads=Threads("test", share=2, most=4))
    yield runner
    runner.close()


async def run(runner: Runner, made: Any, given: Any = None, **more: Any) -> Run:
    return await runner.start(made, ANYONE, REQUEST, {} if given is None else given, "run-1", **more)


async def nothing_runs(runner: Runner) -> None:
    async with asyncio.timeout(10):
        while runner.running:
            await asyncio.sleep(0)


def lazy(ctx: Context) -> Any:
    return (note() or each for each in range(3))


def model(ctx: Context) -> Any:
    return Noted.model_construct(x=1)


def in_reply(ctx: Context) -> Any:
    return Reply(200, [Noted.model_construct(x=1)])


def raises(ctx: Context) -> Any:
    raise Told


def of_problem(ctx: Context) -> Any:
    raise Problem(409, "no", members={"odd": Noted.model_construct(x=1)})


@pytest.mark.parametrize("function", [lazy, model, in_reply, raises, of_problem])
async def test_what_a_def_workflow_returns_or_raises_is_written_in_its_thread(runner: Runner, function: Any):
    await run(runner, workflow(function))
    assert WHERE
    assert set(WHERE) == {"thread"}


def test_only_def_workflows_whose_types_run_code_of_their_author_read_in_a_thread():
    class Plain(BaseModel):
        x: int

    def typed(ctx: Context, body: Noted) -> None: ...
    def plain(ctx: Context, body: Plain) -> None: ...
    def untyped(ctx: Context, body) -> None: ...
    async def on_the_loop(ctx: Context, body: Noted) -> None: ...

    found = [workflow(each).reads_in_thread for each in (typed, plain, untyped, on_the_loop)]
    assert found == [True, False, False, False]


@workflow(timeout=0.1)
def reads(ctx: Context, body: Noted) -> Any:
    return {"x": body.x}


def body(text: str) -> Any:
    return partial(arguments, reads, text.encode(), b"application/json", {})


async def test_a_body_is_validated_in_a_thread_with_the_context_of_the_run(runner: Runner):
    done = await run(runner, workflow(reads.function), body('{"x": 3}'))
    assert (done.outcome.content, WHERE) == (b'{"x":3}', ["thread"])


@pytest.mark.parametrize(("text", "code"), [('{"x": "no"}', "invalid-body"), ('{"x": 8}', "workflow-failed")])
async def test_a_body_that_is_not_valid_starts_no_run(runner: Runner, records: Records, text: str, code: str):
    with pytest.raises(Problem) as caught:
        await run(runner, workflow(reads.function), body(text))
    assert caught.value.code == code
    assert (records.begun, records.ended, runner.running) == ([], [], 0)


async def test_a_validator_that_takes_too_long_is_a_run_that_timed_out(runner: Runner, records: Records):
    done = await run(runner, reads, body('{"x": 9}'))
    assert (done.outcome.state, done.outcome.status, records.ended) == (State.TIMED_OUT, 504, [done])
    assert runner.running == 1
    LET_GO.set()
    await nothing_runs(runner)


async def test_stuck_threads_of_one_workflow_leave_others_alone_and_are_told_to_callers(
    runner: Runner, records: Records
):
    @workflow(timeout=0.1)
    def stuck(ctx: Context) -> None:
        LET_GO.wait(10)

    @workflow
    def healthy(ctx: Context) -> str:
        return "fine"

    with capture_logs() as logs:
        calls = [
            asyncio.create_task(runner.start(stuck, ANYONE, REQUEST, {}, f"stuck-{number}")) for number in range(3)
        ]
        await asyncio.sleep(0)
        assert (await run(runner, healthy)).outcome.content == b'"fine"'
        *first, last = [done.outcome for done in await asyncio.gather(*calls)]
        with pytest.raises(Problem) as caught:
            await run(runner, stuck)
    assert [outcome.state for outcome in first] == [State.TIMED_OUT] * 2
    assert (last.state, last.status, last.error_type) == (State.FAILED, 429, "too-many-runs")
    assert (b"retry-after", b"5") in last.headers
    assert (caught.value.code, "Retry-After" in caught.value.headers) == ("too-many-runs", True)
    assert [line["workflow"] for line in logs if line["event"] == "threads-exhausted"] == ["stuck"]
    assert runner.room.abandoned_by_workflow["stuck"] == 2
    LET_GO.set()
    await nothing_runs(runner)
    assert runner.room.abandoned_by_workflow["stuck"] == 0


def swallower(leave: asyncio.Event, timeout: float) -> Any:
    @workflow(timeout=timeout, max_concurrency=1)
    async def swallows(ctx: Context) -> str:
        while not leave.is_set():
            try:
                await leave.wait()
            except BaseException:
                continue
        return "too late"

    return swallows


@pytest.mark.slow
@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_workflow_that_swallows_its_cancellation_is_answered_for_and_counted(
    runner: Runner, records: Records, ended: list[Run], by_hand: bool
):
    leave = asyncio.Event()
    made = swallower(leave, 60 if by_hand else 0.01)
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def late(run: Any) -> None:
        answered.set_result(run)

    with capture_logs() as logs:
        task = asyncio.create_task(run(runner, made, late=late))
        await asyncio.sleep(0)
        if by_hand:
            assert await runner.cancel("run-1")
        async with asyncio.timeout(20):
            done = await answered
    state, status = (State.CANCELLED, 409) if by_hand else (State.TIMED_OUT, 504)
    assert (done.outcome.state, done.outcome.status, records.ended, ended) == (state, status, [done], [done])
    assert [line["event"] for line in logs] == ["run-abandoned"]
    assert (runner.running, runner.room.abandoned_by_workflow["swallows"]) == (1, 1)
    with pytest.raises(Problem):
        await run(runner, made)  # max_concurrency counts it
    assert not await runner.cancel("run-1")
    leave.set()
    with pytest.raises(Abandoned):
        await task
    assert (done.outcome.state, len(records.ended), runner.running) == (state, 1, 0)
    assert runner.room.abandoned_by_workflow["swallows"] == 0


async def test_a_request_is_copied_only_for_a_workflow_that_looks_at_it(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    """Each copy is work of every request."""
    copies: list[Request] = []
    copy = Request.copy

    def counted(request: Request) -> Request:
        copies.append(request)
        return copy(request)

    monkeypatch.setattr(Request, "copy", counted)

    @workflow
    async def looks_away(ctx: Context) -> None:
        assert ctx._request is REQUEST

    @workflow
    async def looks(ctx: Context) -> None:
        ctx.request.method = "GET"
        assert ctx.request is ctx.request

    for made, times in ((looks_away, 0), (looks, 1)):
        assert (await run(runner, made)).outcome.state is State.SUCCEEDED
        assert copies == [REQUEST] * times
    assert REQUEST.method == "POST"


@pytest.mark.parametrize("in_thread", [False, True])
async def test_who_cancels_a_run_is_told_of_its_end_also_if_that_cannot_be_recorded(
    runner: Runner, records: Records, monkeypatch: pytest.MonkeyPatch, in_thread: bool
):
    async def end(*_: Any) -> None:
        raise problem("journal-unavailable")

    monkeypatch.setattr(records, "end", end)
    wait = asyncio.Event().wait if not in_thread else None

    @workflow(name="waits")
    async def on_loop(ctx: Context) -> None:
        assert wait is not None
        await wait()

    @workflow(name="waits")
    def beside(ctx: Context) -> None: ...

    reading = partial(LET_GO.wait, 10)  # the arguments of a `def` are read in its thread
    made, given = (beside, reading) if in_thread else (on_loop, None)
    task = asyncio.create_task(run(runner, made, given))
    await asyncio.sleep(0)
    cancelled = runner.begin_cancel("run-1")
    assert cancelled is not None
    with pytest.raises(Problem, match="The run has ended"):
        await task
    assert cancelled.done()


async def test_a_result_that_comes_after_the_deadline_is_not_a_success(runner: Runner):
    @workflow(timeout=0.01)
    async def hides(ctx: Context) -> str:
        try:
            await asyncio.Event().wait()
        except BaseException:
            return "succeeded"
        return ""

    done = await run(runner, hides)
    assert (done.outcome.state, done.outcome.status) == (State.TIMED_OUT, 504)


@pytest.mark.slow
async def test_a_run_without_a_connection_of_its_own_is_returned_all_the_same(runner: Runner):
    leave = asyncio.Event()
    done = await apart(runner.start)(
        swallower(leave, 0.01), ANYONE, REQUEST, {}, "run-1", None, "", "", StartedBy.UNKNOWN
    )
    assert done.outcome.state is State.TIMED_OUT
    leave.set()
    await nothing_runs(runner)


async def test_a_run_is_known_here_from_its_first_moment(runner: Runner):
    leave = asyncio.Event()

    async def waits(ctx: Context) -> None:
        await leave.wait()

    task = asyncio.create_task(run(runner, workflow(waits)))
    await asyncio.sleep(0)
    known = runner.underway("run-1")
    assert known is not None
    assert known.id == "run-1"
    leave.set()
    await task
    assert runner.underway("run-1") is None


async def test_a_stuck_step_of_one_workflow_leaves_the_steps_of_others_alone(records: Records):
    steps = Steps(lambda *_: None, threads=Threads("test", share=1, most=2))
    runner = Runner(Services(None, None, structlog.get_logger("test"), steps.run), records, lambda _: None)  # type: ignore[arg-type]

    @workflow(timeout=0.1)
    async def bad(ctx: Context) -> None:
        await ctx.step(LET_GO.wait, 10)

    @workflow(timeout=10)
    async def good(ctx: Context) -> Any:
        return await ctx.step(lambda: "fine")

    calls = [asyncio.create_task(runner.start(bad, ANYONE, REQUEST, {}, f"bad-{number}")) for number in range(2)]
    await asyncio.sleep(0)
    assert (await run(runner, good)).outcome.content == b'"fine"'
    assert [done.outcome.state for done in await asyncio.gather(*calls)] == [State.TIMED_OUT] * 2
    LET_GO.set()
    runner.close()
    steps.close()


async def test_a_run_that_did_not_begin_gives_its_idempotency_key_back(records: Records):
    class Journal(Records):
        async def end(self, run: Run, along: Any = None) -> None:
            written.append(along.func)

    written: list[Any] = []
    never = Run("run-1", reads, ANYONE, REQUEST, 0.0)
    for begun in (False, True):
        never.outcome = cut_off(never, by_hand=False, begun=begun)
        await record_end(Journal(), never, Key("scope", "fingerprint"))
    assert written == [forget, settle_reply]


class Public(BaseModel):
    name: str


class Private(Public):
    password: str = "MARKER"


@pytest.mark.parametrize(
    ("annotation", "value", "content"),
    [
        (Public, Private(name="Ada"), {"name": "Ada"}),
        (Public, {"name": "Ada", "password": "MARKER"}, {"name": "Ada"}),
        (list[Public], [Private(name="Ada")], [{"name": "Ada"}]),
        (Public | None, None, None),
        (Reply | Public, Private(name="Ada"), {"name": "Ada"}),
        (Reply | Public, Reply(200, {"free": 1}), {"free": 1}),
        (dict, ["not", "checked"], ["not", "checked"]),
        (None, "not checked", "not checked"),
        (Any, 1, 1),
    ],
)
@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_result_has_what_its_annotation_says(runner: Runner, annotation: Any, value: Any, content: Any, kind):
    async def later(ctx: Context) -> Any:
        return value

    def now(ctx: Context) -> Any:
        return value

    function = now if kind == "def" else later
    function.__annotations__["return"] = annotation
    done = await run(runner, workflow(function))
    assert (done.outcome.state, json.loads(done.outcome.content)) == (State.SUCCEEDED, content)


async def test_a_result_that_does_not_fit_is_a_failure_that_names_the_place_and_no_value(runner: Runner):
    async def books(ctx: Context) -> Public:
        return {"name": ["MARKER"]}  # type: ignore[return-value]

    outcome = (await run(runner, workflow(books))).outcome
    assert (outcome.state, outcome.status, outcome.error_type) == (State.FAILED, 500, "ResultMismatch")
    assert outcome.error_message.startswith("the result does not fit the return annotation: /name: ")
    assert "MARKER" not in outcome.error_message + outcome.place


async def test_a_forgotten_await_is_named(runner: Runner):
    async def forgets(ctx: Context) -> Any:
        return {"secret": ctx.secret("x")}

    with pytest.warns(RuntimeWarning, match="never awaited"):
        outcome = (await run(runner, workflow(forgets))).outcome
    assert outcome.error_type == "NotAwaited"
    assert "await" in outcome.error_message
