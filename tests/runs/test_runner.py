"""How a run ends, and what its caller gets."""

import asyncio
import json
import sys
import threading
from typing import Any

import pytest
import structlog
from pydantic import BaseModel
from structlog.testing import capture_logs

from postern import Caller, Context, Problem, Reply, Request, workflow
from postern.access import ANYONE
from postern.authoring.context import Services
from postern.ids import new_id
from postern.journal.run import Run, State
from postern.runs.ended_line import ended_line
from postern.runs.runner import Runner
from postern.trace import trace_id_of
from tests.runs.records import Records

pytestmark = pytest.mark.anyio

REQUEST = Request("POST", "/triggers/x", client_address="192.0.2.1")


class Room(BaseModel):
    number: int


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def runner(records):
    async def secret(name: str) -> str:
        return f"value of {name}"

    def connection(ctx: Context, name: str) -> Any:
        raise LookupError(name)

    log = structlog.get_logger("test")

    def ended(run: Run) -> None:
        shape, values = ended_line(run)
        log.info("run-ended", **shape.fields(values))

    runner = Runner(Services(secret, connection, log), records, ended)
    yield runner
    runner.close()


async def run(runner: Runner, function: Any, options: dict[str, Any] | None = None, **arguments: Any) -> Any:
    made = workflow(**(options or {}))(function)
    return await runner.start(made, ANYONE, REQUEST, arguments, "request-1")


@pytest.mark.parametrize(
    ("result", "status", "content", "headers"),
    [
        ({"a": 1}, 200, b'{"a":1}', {b"content-type": b"application/json"}),
        (None, 200, b"null", {b"content-type": b"application/json"}),
        ([Room(number=7)], 200, b'[{"number":7}]', {b"content-type": b"application/json"}),
        (float("nan"), 200, b"null", {b"content-type": b"application/json"}),
        (Reply(201, Room(number=7), {"Location": "/rooms/7"}), 201, b'{"number":7}', {b"location": b"/rooms/7"}),
        (Reply(200, b"\x00\x01"), 200, b"\x00\x01", {b"content-type": b"application/octet-stream"}),
        (Reply(200, b"a,b", {"Content-Type": "text/csv"}), 200, b"a,b", {b"content-type": b"text/csv"}),
        (Reply(200, "a,b", {"content-type": "text/csv"}), 200, b"a,b", {b"content-type": b"text/csv"}),
        (Reply(200, "<p>é", {"Content-Type": "text/html"}), 200, "<p>é".encode(), {b"content-type": b"text/html"}),
        (Reply(200, "", {"Content-Type": "text/plain"}), 200, b"", {b"content-type": b"text/plain"}),
        (Reply(200, "a"), 200, b'"a"', {b"content-type": b"application/json"}),
        (Reply(200, "a", {"Content-Type": "application/json"}), 200, b'"a"', {b"content-type": b"application/json"}),
        (Reply(400, "a", {"Content-Type": "application/problem+json"}), 400, b'"a"', {}),
        (Reply(200, ["a"], {"Content-Type": "text/plain"}), 200, b'["a"]', {b"content-type": b"text/plain"}),
        (Reply(204), 204, b"", {}),
        (Reply(204, b"none of it is sent"), 204, b"", {}),
        (Reply(205, b"none of it is sent"), 205, b"", {}),
        (Reply(205, {"a": 1}), 205, b"", {}),
        (Reply(404, {"no": "room"}), 404, b'{"no":"room"}', {b"content-type": b"application/json"}),
    ],
)
async def test_the_return_value_of_a_workflow_is_the_reply(runner, result, status, content, headers):
    async def returns(ctx: Context) -> Any:
        return result

    ended = await run(runner, returns)
    assert ended.outcome.state is State.SUCCEEDED
    assert (ended.outcome.status, ended.outcome.content) == (status, content)
    assert headers.items() <= dict(ended.outcome.headers).items()


@pytest.mark.parametrize("several", [["a=1", "b=2"], ("a=1", "b=2")])
async def test_a_header_may_be_sent_several_times(runner, several):
    async def returns(ctx: Context) -> Any:
        return Reply(204, None, {"Set-Cookie": several, "X-One": "1"})

    async def raises(ctx: Context) -> Any:
        raise Problem(409, "no", headers={"Set-Cookie": several})

    for function in (returns, raises):
        headers = (await run(runner, function)).outcome.headers
        assert [value for name, value in headers if name == b"set-cookie"] == [b"a=1", b"b=2"]


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_both_kinds_of_function_run_with_their_arguments(runner, kind):
    if kind == "def":

        def function(ctx: Context, body: Room) -> dict[str, Any]:
            return {"number": body.number, "main": threading.current_thread() is threading.main_thread()}

    else:

        async def function(ctx: Context, body: Room) -> dict[str, Any]:  # type: ignore[misc]
            return {"number": body.number, "main": threading.current_thread() is threading.main_thread()}

    ended = await run(runner, function, body=Room(number=3))
    assert json.loads(ended.outcome.content) == {"number": 3, "main": kind == "async def"}
    assert runner.running == 0


def raising(error: BaseException, *, in_thread: bool) -> Any:
    if in_thread:

        def raises(ctx: Context) -> None:
            raise error

        return raises

    async def raises_too(ctx: Context) -> None:
        raise error

    return raises_too


@pytest.mark.parametrize("in_thread", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("MARKER"),
        SystemExit("MARKER"),
        KeyboardInterrupt("MARKER"),
        StopIteration("MARKER"),
        TimeoutError("MARKER"),
        RecursionError("MARKER"),
        asyncio.CancelledError("MARKER"),
        BaseExceptionGroup("MARKER", [ValueError("MARKER")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_in_a_workflow_is_a_500_with_its_run_id_and_nothing_of_its_text(runner, error, in_thread):
    with capture_logs() as logs:
        ended = await run(runner, raising(error, in_thread=in_thread))
    document = json.loads(ended.outcome.content)
    assert ended.outcome.state is State.FAILED
    assert (document["status"], document["code"], document["run_id"]) == (500, "workflow-failed", ended.id)
    assert b"MARKER" not in ended.outcome.content
    assert "MARKER" not in str(logs)
    assert logs[0]["error"].startswith(("RuntimeError" if "Stop" in type(error).__name__ else type(error).__name__)[:5])


@pytest.mark.parametrize("in_thread", [True, False])
async def test_an_error_has_a_traceback_from_the_workflow_on(runner, in_thread):
    function = raising(ValueError("MARKER"), in_thread=in_thread)
    trace = (await run(runner, function)).outcome.error_traceback
    assert trace.splitlines()[1].startswith(f'  File "{__file__}"')
    assert trace.endswith("ValueError: MARKER")
    secured = (await run(runner, function, {"secure_inputs": True})).outcome.error_traceback
    assert "ValueError" in secured
    assert "MARKER" not in secured


async def test_a_problem_of_the_author_has_no_traceback(runner):
    assert (await run(runner, raising(Problem(409, "booked"), in_thread=False))).outcome.error_traceback == ""


async def test_a_result_that_is_not_json_is_a_failed_run(runner):
    async def returns(ctx: Context) -> Any:
        return object()

    assert (await run(runner, returns)).outcome.state is State.FAILED


async def test_a_circular_result_is_a_failed_run(runner):
    async def returns(ctx: Context) -> Any:
        circle: list[Any] = []
        circle.append(circle)
        return circle

    assert (await run(runner, returns)).outcome.state is State.FAILED


async def test_a_problem_that_the_author_raises_is_shown(runner):
    async def raises(ctx: Context) -> None:
        raise Problem(409, "already booked", headers={"Retry-After": "60"}, members={"room": 7, "odd": object()})

    ended = await run(runner, raises)
    document = json.loads(ended.outcome.content)
    assert ended.outcome.state is State.FAILED
    assert ended.outcome.status == 409
    assert (document["detail"], document["room"], document["code"]) == ("already booked", 7, "workflow-problem")
    assert (b"retry-after", b"60") in ended.outcome.headers


async def test_a_workflow_that_takes_too_long_is_cancelled_and_answered_with_504(runner):
    cancelled = asyncio.Event()

    async def waits(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    ended = await run(runner, waits, {"timeout": 0.01})
    assert (ended.outcome.state, ended.outcome.status) == (State.TIMED_OUT, 504)
    assert cancelled.is_set()


async def test_a_thread_that_outlives_its_timeout_still_counts_as_running(runner):
    let_go = threading.Event()

    def waits(ctx: Context) -> None:
        let_go.wait(10)

    options = {"timeout": 0.05, "max_concurrency": 1}
    ended = await run(runner, waits, options)
    assert ended.outcome.status == 504
    with pytest.raises(Problem) as caught:
        await run(runner, waits, options)
    assert caught.value.status == 429
    let_go.set()
    async with asyncio.timeout(10):
        while runner.running:
            await asyncio.sleep(0)


async def test_more_runs_than_max_concurrency_are_answered_with_429(runner):
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def waits(ctx: Context) -> str:
        entered.set()
        await leave.wait()
        return "done"

    made = workflow(max_concurrency=1)(waits)
    first = asyncio.create_task(runner.start(made, ANYONE, REQUEST, {}, "request-1"))
    await entered.wait()
    with pytest.raises(Problem) as caught:
        await runner.start(made, ANYONE, REQUEST, {}, "request-2")
    assert (caught.value.code, caught.value.headers) == ("too-many-runs", {"Retry-After": "1"})
    leave.set()
    assert (await first).outcome.content == b'"done"'
    assert (await runner.start(made, ANYONE, REQUEST, {}, "request-3")).outcome.status == 200


async def test_while_the_server_stops_running_ones_end_and_new_ones_get_503(runner):
    leave = asyncio.Event()

    async def waits(ctx: Context) -> str:
        await leave.wait()
        return "done"

    made = workflow(waits)
    first = asyncio.create_task(runner.start(made, ANYONE, REQUEST, {}, "request-1"))
    await asyncio.sleep(0)
    runner.drain()
    with pytest.raises(Problem) as caught:
        await runner.start(made, ANYONE, REQUEST, {}, "request-2")
    assert (caught.value.code, caught.value.headers) == ("shutting-down", {"Retry-After": "5"})
    leave.set()
    assert (await first).outcome.state is State.SUCCEEDED


async def test_a_context_has_the_caller_secrets_and_a_log(runner):
    async def looks(ctx: Context) -> dict[str, Any]:
        ctx.log.info("looked", at="room")
        return {"caller": ctx.caller.object_id, "run": ctx.run_id, "secret": await ctx.secret("key")}

    caller = Caller("user", object_id="11111111-1111-1111-1111-111111111111")
    with capture_logs() as logs:
        ended = await runner.start(workflow(looks), caller, REQUEST, {}, "request-1")
    document = json.loads(ended.outcome.content)
    assert document == {"caller": caller.object_id, "run": ended.id, "secret": "value of key"}
    assert logs[0] == {
        "event": "looked",
        "log_level": "info",
        "workflow": "looks",
        "run_id": ended.id,
        "trace_id": trace_id_of(ended.id),
        "at": "room",
    }


async def test_each_run_is_logged_once_with_its_caller_and_outcome(runner):
    async def fine(ctx: Context) -> None: ...

    with capture_logs() as logs:
        ended = await run(runner, fine)
    [line] = logs
    assert line["event"] == "run-ended"
    assert (line["run_id"], line["workflow"]) == (ended.id, "fine") == ("request-1", "fine")
    assert (line["state"], line["status"], line["caller"]) == ("Succeeded", 200, "anonymous")
    assert line["client_address"] == "192.0.2.1"


def test_ids_are_uuids_of_version_7_that_are_ordered_by_time_and_never_repeat():
    import uuid

    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    parsed = [uuid.UUID(made) for made in ids]
    assert all(
        str(value) == made and value.version == 7 and value.variant == uuid.RFC_4122
        for value, made in zip(parsed, ids, strict=True)
    )
    assert [made[:13] for made in ids] == sorted(made[:13] for made in ids)
    assert sys.getsizeof(ids[0]) < 100


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_workflow_gets_only_the_secrets_that_it_declares(runner, is_async):
    async def reads(ctx: Context, name: str) -> str:
        return await ctx.secret(name)

    def reads_in_thread(ctx: Context, name: str) -> str:
        return asyncio.run(ctx.secret(name))

    function = reads if is_async else reads_in_thread
    options = {"path": "/{name}", "secrets": ["mine"]}
    assert json.loads((await run(runner, function, options, name="mine")).outcome.content) == "value of mine"
    other = await run(runner, function, options, name="other")
    assert (other.outcome.status, other.outcome.error_type) == (500, "NotDeclared")
    assert (
        json.loads((await run(runner, function, {"path": "/{name}"}, name="other")).outcome.content) == "value of other"
    )
