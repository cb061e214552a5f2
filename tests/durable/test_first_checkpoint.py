"""A run's first execution goes on without DBOS until its first checkpoint. Whatever happens in that moment, no step
that has ended is repeated, and each has its own result."""

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from postern import Context, anonymous, workflow
from postern.durable import engine, first_checkpoints
from postern.durable.checkpoint_writer import CheckpointWriter
from postern.durable.checkpoints import Lost
from postern.durable.dbos_rows import Begins
from postern.durable.first_checkpoints import FirstCheckpoints
from postern.journal.durable_runs import take
from tests.durable.host import TAKE_OVER, Host
from tests.journal.operations import execute

pytestmark = [pytest.mark.anyio, pytest.mark.process]

DONE: list[str] = []


class Gate:
    """What code and DBOS wait for, new in each test's event loop."""

    begun: asyncio.Event
    open: asyncio.Event
    at_dbos: asyncio.Event
    dbos: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_done() -> None:
    DONE.clear()
    Gate.begun, Gate.open, Gate.at_dbos, Gate.dbos = (asyncio.Event() for _ in range(4))


@pytest.fixture
def slow_dbos(monkeypatch: pytest.MonkeyPatch) -> None:
    """DBOS takes its first run when `Gate.dbos` is set."""
    usual, calls = CheckpointWriter.write, list[None]()

    async def write(self: CheckpointWriter[Any], row: Any, size: int = 0) -> Any:
        if isinstance(row, Begins) and not calls:
            calls.append(None)
            Gate.at_dbos.set()
            await Gate.dbos.wait()
        return await usual(self, row, size)

    monkeypatch.setattr(CheckpointWriter, "write", write)


async def say(what: str) -> str:
    DONE.append(what)
    return what


async def gate() -> str:
    DONE.append("gate")
    Gate.begun.set()
    await Gate.open.wait()
    return "gate"


@workflow(access=anonymous(), durable=True)
async def first_times_out(ctx: Context) -> list[str]:
    found = []
    try:
        async with asyncio.timeout(0.05 if not DONE else None):
            found.append(await ctx.step(say, "first", name="first"))
    except TimeoutError:
        DONE.append("timeout")
        Gate.dbos.set()
    return [*found, await ctx.step(say, "second", name="second"), await ctx.step(gate)]


async def test_a_first_step_that_timed_out_has_its_number_all_the_same(durable_host: Host, slow_dbos: None) -> None:
    durable_host.serve(first_times_out)
    run_id = await durable_host.accept(first_times_out)
    await asyncio.wait_for(Gate.begun.wait(), 20)
    assert (await durable_host.durable(run_id)).attempt == 1
    await durable_host.crash()
    Gate.open.set()
    await durable_host.take_over()
    row = await durable_host.outcome(run_id)
    assert (row.state, row.outputs) == ("Succeeded", '["first","second","gate"]')
    assert DONE == ["timeout", "second", "gate", "first", "gate"]


@workflow(access=anonymous(), durable=True)
async def gathers(ctx: Context) -> list[str]:
    steps = [ctx.step(say, each, name=each) for each in "abcdefgh"]
    return [*await asyncio.gather(*steps), await ctx.step(gate)]


async def test_first_steps_that_begin_together_are_numbered_in_their_order(durable_host: Host) -> None:
    Gate.dbos.set()
    durable_host.serve(gathers)
    run_id = await durable_host.accept(gathers)
    await asyncio.wait_for(Gate.begun.wait(), 20)
    await durable_host.crash()
    Gate.open.set()
    await durable_host.take_over()
    assert (await durable_host.outcome(run_id)).outputs == '["a","b","c","d","e","f","g","h","gate"]'
    assert sorted(DONE) == sorted([*"abcdefgh", "gate", "gate"])


@workflow(access=anonymous(), durable=True)
async def one_step(ctx: Context) -> str:
    return await ctx.step(gate)


async def test_a_crash_while_dbos_takes_the_run_leaves_it_to_the_next_process(
    durable_host: Host, slow_dbos: None
) -> None:
    Gate.open.set()
    durable_host.serve(one_step)
    run_id = await durable_host.accept(one_step)
    await asyncio.wait_for(Gate.at_dbos.wait(), 20)
    await durable_host.crash()
    await durable_host.take_over()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert DONE == ["gate"]
    Gate.dbos.set()


async def test_a_run_that_is_cancelled_while_dbos_takes_it_begins_no_step(durable_host: Host, slow_dbos: None) -> None:
    Gate.open.set()
    durable_host.serve(one_step)
    run_id = await durable_host.accept(one_step)
    await asyncio.wait_for(Gate.at_dbos.wait(), 20)
    durable_host.engine.cancel(run_id, "", ended=False)
    assert (await durable_host.outcome(run_id)).state == "Cancelled"
    Gate.dbos.set()
    assert (DONE, durable_host.engine.idle) == ([], True)


async def test_a_run_that_another_process_takes_meanwhile_begins_no_step_here(
    durable_host: Host, slow_dbos: None
) -> None:
    Gate.open.set()
    durable_host.serve(one_step)
    run_id = await durable_host.accept(one_step)
    await asyncio.wait_for(Gate.at_dbos.wait(), 20)
    await durable_host.journal.write(partial(execute, statement=TAKE_OVER.format(durable_host.engine._node)))
    assert await durable_host.journal.write(partial(take, run_id=run_id, node="another")) is not None
    Gate.dbos.set()

    async def is_idle() -> bool:
        return durable_host.engine.idle

    await durable_host.until(is_idle)
    row = await durable_host.durable(run_id)
    assert (row.owner, row.attempt, row.phase, DONE) == ("another", 2, "running", [])


async def test_a_stop_while_dbos_takes_the_run_leaves_it_ready(durable_host: Host, slow_dbos: None) -> None:
    Gate.open.set()
    durable_host.serve(one_step)
    run_id = await durable_host.accept(one_step)
    await asyncio.wait_for(Gate.at_dbos.wait(), 20)
    durable_host.drain()
    Gate.dbos.set()
    row = await durable_host.phase(run_id, "ready")
    assert (row.owner, row.deaths, DONE) == (None, 0, [])
    await durable_host.restart()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert DONE == ["gate"]


async def test_a_run_whose_database_of_checkpoints_is_away_at_its_first_step_goes_on_later(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IN_TROUBLE", 0.1)
    usual, calls = CheckpointWriter.write, list[None]()

    async def away(self: CheckpointWriter[Any], row: Any, size: int = 0) -> Any:
        if isinstance(row, Begins):
            calls.append(None)
            raise OperationalError("INSERT", {}, Exception("gone"))
        return await usual(self, row, size)

    monkeypatch.setattr(CheckpointWriter, "write", away)
    Gate.open.set()
    durable_host.serve(one_step)
    run_id = await durable_host.accept(one_step)
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert DONE == ["gate"]
    assert ((await durable_host.durable(run_id)).attempt, len(calls)) == (2, 1)


async def test_a_run_that_is_taken_too_late_goes_on_once(durable_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first execution gave up, and the database has the run after all."""
    monkeypatch.setattr(engine, "IN_TROUBLE", 0.1)
    monkeypatch.setattr(first_checkpoints, "OPEN_SECONDS", 0.0)
    Gate.open.set()
    durable_host.serve(one_step)
    run_id = await durable_host.accept(one_step)
    row = await durable_host.outcome(run_id)
    assert (row.state, row.outputs) == ("Succeeded", '"gate"')
    assert DONE == ["gate"]


async def test_a_run_that_dbos_knows_already_goes_on_from_its_checkpoints(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of a backup is a little older than its checkpoints."""
    monkeypatch.setattr(engine, "IN_TROUBLE", 0.1)
    durable_host.serve(gathers)
    run_id = await durable_host.accept(gathers)
    await asyncio.wait_for(Gate.begun.wait(), 20)
    await durable_host.crash()
    Gate.open.set()
    older = "UPDATE durable_runs SET phase = 'ready', owner = NULL, attempt = 0"
    await durable_host.journal.write(partial(execute, statement=older))
    durable_host.start()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert sorted(DONE) == sorted([*"abcdefgh", "gate", "gate"])
    assert (await durable_host.durable(run_id)).attempt == 2


class Away:
    """A database of checkpoints that is away."""

    async def write(self, _row: Any, _size: int = 0) -> Any:
        raise ConnectionError


async def test_no_step_of_an_execution_goes_on_after_dbos_did_not_take_it() -> None:
    first = FirstCheckpoints("run", Away())  # type: ignore[arg-type]

    async def body(_: int) -> str:
        raise AssertionError

    found = await asyncio.gather(*(first.step(name, body) for name in "abc"), return_exceptions=True)
    assert [type(each) for each in found] == [Lost] * 3
    assert isinstance(first.failed, ConnectionError)


@workflow(access=anonymous(), durable=True)
async def sleeps_after_a_timeout(ctx: Context) -> str:
    try:
        async with asyncio.timeout(0.2 if not DONE else None):
            await ctx.step(gate)
    except TimeoutError:
        Gate.open.set()
    await ctx.sleep(0.5)
    return "".join(DONE)


@pytest.mark.parametrize("durable_host", [{"held": 0.05}], indirect=True, ids=["held"])
async def test_a_step_that_timed_out_is_no_missing_checkpoint_after_a_wait(durable_host: Host) -> None:
    durable_host.serve(sleeps_after_a_timeout)
    run_id = await durable_host.accept(sleeps_after_a_timeout)
    assert (await durable_host.outcome(run_id)).outputs == '"gategate"'
