"""A run takes its place before anything is awaited, and none begins after the server began to stop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, field_validator

from postern import Context, Problem, Request, workflow
from postern.access import ANYONE
from postern.authoring.context import Services
from postern.authoring.workflow import Workflow
from postern.journal.idempotency_keys import Claimed
from postern.journal.run import Run
from postern.runs.claims import claim_for_run, take_back
from postern.runs.idempotency import Key
from postern.runs.runner import Runner
from postern.runs.threads import Threads
from tests.runs.records import Records

pytestmark = pytest.mark.anyio

REQUEST = Request("POST", "/triggers/x", client_address="192.0.2.1")
KEY = Key("scope", "fingerprint")
GATE = threading.Event()


class Journal(Records):
    """Every claim waits for `commit`."""

    def __init__(self) -> None:
        super().__init__()
        self.commit = asyncio.Event()
        self.soon: list[Any] = []

    async def write(self, operation: Any, undo: Any = None) -> Any:
        await self.commit.wait()
        return Claimed() if getattr(operation, "func", None) is claim_for_run else None

    def end(self, run: Run, along: Any = None) -> Any:
        self.ended.append(run)
        if along is not None:
            self.soon.append(along.func)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def write_soon(self, operation: Any) -> None:
        self.soon.append(operation.func)


class Slow(BaseModel):
    x: int = 1

    @field_validator("x")
    @classmethod
    def reads(cls, value: int) -> int:
        GATE.wait(10)
        return value


def read() -> dict[str, Any]:
    return {"body": Slow.model_validate({"x": 1})}


@pytest.fixture
async def journal() -> Journal:
    return Journal()


@pytest.fixture
async def runner(journal: Journal) -> AsyncIterator[Runner]:
    GATE.clear()
    services: Any = Services(None, None, structlog.get_logger("test"))  # type: ignore[arg-type]
    runner = Runner(services, journal, lambda _: None, threads=Threads("test", share=1, most=2))
    yield runner
    GATE.set()
    runner.close()


BEGUN: list[str] = []


@workflow(max_concurrency=1)
async def of_loop(ctx: Context) -> None:
    BEGUN.append(ctx.run_id)


@workflow(max_concurrency=1)
def of_thread(ctx: Context, body: Slow) -> None:
    BEGUN.append(ctx.run_id)


@workflow
def unlimited(ctx: Context) -> None:
    BEGUN.append(ctx.run_id)
    GATE.wait(10)


def begin(runner: Runner, made: Workflow, run_id: str, key: Key | None = None) -> "asyncio.Task[Run]":
    arguments: Any = read if made.reads_in_thread else {}
    return asyncio.create_task(runner.start(made, ANYONE, REQUEST, arguments, run_id, key))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _afresh() -> None:
    BEGUN.clear()


WAITS = [
    pytest.param(of_loop, KEY, id="for its key"),
    pytest.param(of_thread, None, id="for its arguments"),
    pytest.param(of_thread, KEY, id="for its arguments and its key"),
]


@pytest.mark.parametrize(("made", "key"), WAITS)
async def test_max_concurrency_holds_for_runs_that_wait(runner: Runner, journal: Journal, made: Workflow, key: Any):
    tasks = [begin(runner, made, f"run-{number}", key) for number in range(20)]
    await turns()
    assert runner.running == 1
    GATE.set()
    journal.commit.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [each.code for each in ended if isinstance(each, Problem)]
    assert (refused, len(BEGUN), runner.running) == (["too-many-runs"] * 19, 1, 0)


@pytest.mark.parametrize(("made", "key"), WAITS)
async def test_no_run_begins_after_the_stop_although_it_waited_before(
    runner: Runner, journal: Journal, made: Workflow, key: Any
):
    task = begin(runner, made, "run-1", key)
    await turns()
    assert runner.running == 1  # the stop waits for it
    runner.drain()
    GATE.set()
    journal.commit.set()
    with pytest.raises(Problem) as caught:
        await task
    assert (caught.value.code, BEGUN, runner.running) == ("shutting-down", [], 0)
    assert journal.begun == journal.ended == []
    if made is of_loop:
        assert journal.soon == [take_back]


async def test_a_run_that_waits_for_a_thread_when_the_stop_begins_says_that_it_never_began(
    runner: Runner, journal: Journal
):
    journal.commit.set()
    first, second = begin(runner, unlimited, "run-1"), begin(runner, unlimited, "run-2", KEY)
    while not BEGUN:
        await asyncio.sleep(0)
    runner.drain()
    GATE.set()
    await first
    outcome = (await second).outcome
    assert (outcome.error_type, outcome.status, outcome.begun) == ("shutting-down", 503, False)
    assert BEGUN == ["run-1"]
    assert [each.__name__ for each in journal.soon] == ["forget"]  # its key is free


@pytest.mark.parametrize("failing", ["begin", "claim"])
async def test_a_place_is_given_back_if_the_run_cannot_be_recorded(
    runner: Runner, journal: Journal, failing: str, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: Any, **__: Any) -> Any:
        raise Problem(503, "no")

    monkeypatch.setattr(journal, "write" if failing == "claim" else "begin", fails)
    with pytest.raises(Problem):
        await begin(runner, of_loop, "run-1", KEY if failing == "claim" else None)
    assert runner.running == 0


async def test_a_task_that_is_cancelled_gives_its_place_back(runner: Runner):
    task = begin(runner, of_loop, "run-1", KEY)
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.running == 0


async def test_a_server_that_stops_interrupts_what_it_cancels(runner: Runner, journal: Journal):
    @workflow
    async def waits(ctx: Context) -> None:
        await asyncio.Event().wait()

    task = begin(runner, waits, "run-1")
    await turns()
    runner.drain()
    task.cancel()
    with pytest.raises(Problem) as caught:
        await task
    assert caught.value.code == "shutting-down"
    assert [run.outcome.state for run in journal.ended] == ["Interrupted"]
