"""A limit for each key, and a singleton: in one server process, with code that goes on after its run."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, select

from postern import Caller, Context, Problem, Request, workflow
from postern.access import ANYONE
from postern.authoring.context import Services
from postern.authoring.workflow import Workflow
from postern.errors import problem
from postern.journal.run import Run
from postern.journal.schema import idempotency_keys
from postern.runs.concurrency import Mark, plain_mark
from postern.runs.idempotency import Key
from postern.runs.runner import Runner
from postern.runs.threads import Threads
from tests.runs.records import Records

pytestmark = pytest.mark.anyio

REQUEST = Request("POST", "/triggers/x", client_address="192.0.2.1")
LISA = Caller("user", "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2", "e2fc6e45-07a1-47e5-a6c7-2a3740ea3a7a")


class Journal(Records):
    """One of the server processes on a database. Operations are done at once, in the order in which they came."""

    def __init__(self, engine: Engine, node: str = "node") -> None:
        super().__init__()
        self.node = node
        self._engine = engine

    async def write(self, operation: Any, undo: Any = None) -> Any:
        return self._do(operation)

    def write_soon(self, operation: Any) -> None:
        self._do(operation)

    def end(self, run: Run, along: Any = None) -> Any:
        self.ended.append(run)
        done = asyncio.get_running_loop().create_future()
        done.set_result(self._do(along) if along is not None else None)
        return done

    def _do(self, operation: Any) -> Any:
        with self._engine.begin() as connection:
            return operation(connection)


class Gate:
    """What the code of workflows waits for, new in each test's event loop."""

    of_loop: asyncio.Event
    of_thread: threading.Event


def runner_of(journal: Records, mark: Mark = plain_mark) -> Runner:
    services: Any = Services(None, None, structlog.get_logger("test"))  # type: ignore[arg-type]
    return Runner(services, journal, lambda _: None, threads=Threads("test"), mark=mark)


@pytest.fixture
async def gate() -> AsyncIterator[type[Gate]]:
    Gate.of_loop, Gate.of_thread = asyncio.Event(), threading.Event()
    yield Gate
    Gate.of_thread.set()


@pytest.fixture
async def runner(gate: Any) -> AsyncIterator[Runner]:
    runner = runner_of(Records())
    yield runner
    gate.of_thread.set()
    runner.close()


@workflow(concurrency_key=lambda caller, body: body["order"], max_concurrency=2)
async def of_order(ctx: Context, body: dict[str, Any]) -> None:
    await Gate.of_loop.wait()


@workflow(concurrency_key=lambda caller, body: caller.object_id)
async def of_caller(ctx: Context) -> None:
    await Gate.of_loop.wait()


@workflow(concurrency_key=lambda caller, body: body["order"], timeout=0.05)
def in_thread(ctx: Context, body: dict[str, Any]) -> None:
    Gate.of_thread.wait(10)


@workflow(concurrency_key=lambda caller, body: body["order"], timeout=0.05)
async def stubborn(ctx: Context, body: dict[str, Any]) -> None:
    while not Gate.of_loop.is_set():
        try:
            await Gate.of_loop.wait()
        except asyncio.CancelledError:
            continue


@workflow(singleton=True)
async def alone(ctx: Context) -> None:
    await Gate.of_loop.wait()


@workflow(singleton=True, concurrency_key=lambda caller, body: body["order"])
async def alone_for_order(ctx: Context, body: dict[str, Any]) -> None:
    await Gate.of_loop.wait()


def begin(
    runner: Runner, made: Workflow, run_id: str, body: Any = None, caller: Caller = ANYONE, key: Key | None = None
) -> "asyncio.Task[Run]":
    arguments = {"body": body} if made.body is not None else {}
    return asyncio.create_task(runner.start(made, caller, REQUEST, arguments, run_id, key))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def ends(tasks: "list[asyncio.Task[Run]]") -> list[str]:
    """How each of them ended: a state, or the code of a problem."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [each.code if isinstance(each, Problem) else each.outcome.state.value for each in found]  # type: ignore[union-attr]


async def test_the_limit_holds_for_each_key_among_many_requests_at_once(runner: Runner, gate: Any) -> None:
    orders = [number % 10 for number in range(100)]
    tasks = [begin(runner, of_order, f"run-{place}", {"order": order}) for place, order in enumerate(orders)]
    await turns()
    assert runner.room.taken["of-order"] == 20
    gate.of_loop.set()
    assert sorted(await ends(tasks)) == ["Succeeded"] * 20 + ["too-many-runs"] * 80
    again = [begin(runner, of_order, f"again-{order}", {"order": order}) for order in range(10)]
    assert await ends(again) == ["Succeeded"] * 10


async def test_a_key_of_the_caller_needs_no_body(runner: Runner, gate: Any) -> None:
    tasks = [begin(runner, of_caller, f"run-{place}", caller=who) for place, who in enumerate((ANYONE, LISA, LISA))]
    await turns()
    gate.of_loop.set()
    assert await ends(tasks) == ["Succeeded", "Succeeded", "too-many-runs"]


async def test_a_request_beyond_the_limit_says_when_to_come_again(runner: Runner, gate: Any) -> None:
    first = begin(runner, of_caller, "run-1")
    await turns()
    with pytest.raises(Problem) as caught:
        await begin(runner, of_caller, "run-2")
    shown = caught.value
    assert (shown.status, shown.headers) == (429, {"Retry-After": "1"})
    assert shown.detail == "This workflow already has as many concurrent runs with the same key as it allows."
    gate.of_loop.set()
    await first


async def test_a_thread_that_goes_on_after_its_timeout_keeps_the_place_of_its_key(runner: Runner, gate: Any) -> None:
    assert await ends([begin(runner, in_thread, "run-1", {"order": 1})]) == ["TimedOut"]
    assert await ends([begin(runner, in_thread, "run-2", {"order": 1})]) == ["too-many-runs"]
    assert await ends([begin(runner, in_thread, "run-3", {"order": 2})]) == ["TimedOut"]
    gate.of_thread.set()
    while runner.running:
        await asyncio.sleep(0)
    assert await ends([begin(runner, in_thread, "run-4", {"order": 1})]) == ["Succeeded"]


async def test_code_that_swallows_its_cancellation_keeps_the_place_of_its_key(runner: Runner, gate: Any) -> None:
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def late(run: Any) -> None:
        ended.set_result(run)

    task = asyncio.create_task(runner.start(stubborn, ANYONE, REQUEST, {"body": {"order": 1}}, "run-1", late=late))
    assert (await ended).outcome.state == "TimedOut"
    assert await ends([begin(runner, stubborn, "run-2", {"order": 1})]) == ["too-many-runs"]
    gate.of_loop.set()
    await asyncio.wait([task])
    assert task.exception() is not None  # Abandoned: its caller has its reply
    assert await ends([begin(runner, stubborn, "run-3", {"order": 1})]) == ["Succeeded"]


async def test_an_error_of_the_key_s_function_is_a_failed_run_that_names_the_line(runner: Runner, gate: Any) -> None:
    run = await begin(runner, of_order, "run-1", {"number": 1})
    outcome = run.outcome
    line = getattr(of_order.concurrency_key, "__code__").co_firstlineno  # noqa: B009 mypy knows a callable only
    assert (outcome.state, outcome.status, outcome.error_type) == ("Failed", 500, "KeyError")
    assert outcome.place == f"at {__file__}:{line}"
    assert f'{__file__}", line {line}' in outcome.error_traceback
    assert f"fix: concurrency_key ({__file__}:{line}) raised this" in outcome.error_traceback
    assert "return a key for every body" in outcome.error_traceback
    assert json.loads(outcome.content)["code"] == "workflow-failed"
    records: Any = runner._journal
    assert records.begun == records.ended == [run]
    assert runner.running == 0


async def test_the_key_is_asked_for_once_and_not_held_in_memory(runner: Runner, gate: Any) -> None:
    asked = []

    def pin(caller: Any, body: Any) -> str:
        asked.append(body)
        return str(body["pin"])

    @workflow(concurrency_key=pin, secure_inputs=True)
    async def secured(ctx: Context, body: dict[str, Any]) -> None:
        await gate.of_loop.wait()

    task = begin(runner, secured, "run-1", {"pin": "4711"})
    await turns()
    [mark] = runner._places.taken
    assert b"4711" not in mark
    assert len(mark) == 32
    gate.of_loop.set()
    assert await ends([task]) == ["Succeeded"]
    assert (asked, dict(runner._places.taken)) == ([{"pin": "4711"}], {})


async def test_a_singleton_has_one_run_over_all_server_processes(engine: Engine, gate: Any) -> None:
    here, there = runner_of(Journal(engine, "here")), runner_of(Journal(engine, "there"))
    tasks = [begin(where, alone, f"run-{place}") for place, where in enumerate([here, there] * 5)]
    await turns()
    gate.of_loop.set()
    assert sorted(await ends(tasks)) == ["Succeeded"] + ["too-many-runs"] * 9
    assert await ends([begin(there, alone, "run-10")]) == ["Succeeded"]
    here.close()
    there.close()


async def test_a_singleton_with_a_key_has_one_run_for_each_over_all_server_processes(engine: Engine, gate: Any) -> None:
    here, there = runner_of(Journal(engine, "here")), runner_of(Journal(engine, "there"))
    wanted = [(here, 1), (there, 1), (there, 2), (here, 2), (here, 3)]
    tasks = [
        begin(where, alone_for_order, f"run-{place}", {"order": order}) for place, (where, order) in enumerate(wanted)
    ]
    await turns()
    gate.of_loop.set()
    assert await ends(tasks) == ["Succeeded", "too-many-runs", "Succeeded", "too-many-runs", "Succeeded"]
    here.close()
    there.close()


async def test_a_run_without_a_place_leaves_its_idempotency_key_free(engine: Engine, gate: Any) -> None:
    here, there = runner_of(Journal(engine, "here")), runner_of(Journal(engine, "there"))
    key = Key("scope", "fingerprint")
    first = begin(here, alone, "run-1")
    await turns()
    assert await ends([begin(there, alone, "run-2", key=key)]) == ["too-many-runs"]
    gate.of_loop.set()
    assert await ends([first]) == ["Succeeded"]
    assert (await begin(there, alone, "run-3", key=key)).id == "run-3"
    assert (await begin(there, alone, "run-4", key=key)).id == "run-3"  # it gets the stored reply
    here.close()
    there.close()


async def test_no_singleton_begins_while_the_journal_cannot_be_written(gate: Any) -> None:
    class Away(Records):
        async def write(self, operation: Any, undo: Any = None) -> Any:
            raise Problem(503, "away")

        def write_soon(self, operation: Any) -> None:
            pass

    runner = runner_of(Away())
    with pytest.raises(Problem):
        await begin(runner, alone, "run-1")
    assert (runner.running, dict(runner._places.taken)) == (0, {})
    runner.close()


async def test_the_claim_of_a_secured_singleton_is_made_by_the_mark(engine: Engine, gate: Any) -> None:
    async def mark(text: str) -> str:
        return f"marked {sha256(text.encode()).hexdigest()}"

    @workflow(singleton=True, concurrency_key=lambda caller, body: body["pin"], secure_inputs=True)
    async def secured(ctx: Context, body: dict[str, Any]) -> None:
        await gate.of_loop.wait()

    runner = runner_of(Journal(engine), mark)
    task = begin(runner, secured, "run-1", {"pin": "4711"})
    await turns()
    with engine.connect() as connection:
        [scope] = connection.scalars(select(idempotency_keys.c.scope))
    assert scope == await mark('concurrency\nsecured\n"4711"')
    gate.of_loop.set()
    await task
    with engine.connect() as connection:
        assert connection.scalars(select(idempotency_keys.c.scope)).all() == []


async def test_a_secured_singleton_whose_mark_cannot_be_made_does_not_begin(engine: Engine, gate: Any) -> None:
    async def no_mark(_: str) -> str:
        raise problem("durable-key-unavailable", headers={"Retry-After": "5"})

    @workflow(singleton=True, concurrency_key=lambda caller, body: body["pin"], secure_outputs=True)
    async def secured(ctx: Context, body: dict[str, Any]) -> None: ...

    runner = runner_of(Journal(engine), no_mark)
    for number in range(2):  # the place in memory is free again
        assert await ends([begin(runner, secured, f"run-{number}", {"pin": "4711"})]) == ["durable-key-unavailable"]
    assert runner.running == 0
