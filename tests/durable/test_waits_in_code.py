"""Waits as the code of authors may use them: within a timeout of its own, beside steps, and in tasks."""

import asyncio
from typing import Any

import pytest

from postern import anonymous, workflow
from postern.journal.durable_runs import begin_wait, end_wait
from tests.durable.host import Host

pytestmark = pytest.mark.anyio


class Seen:
    """What the code of a test did, and its gate, new in each test's event loop."""

    done: list[str]
    open: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_seen() -> None:
    Seen.done, Seen.open = [], asyncio.Event()


async def gate() -> str:
    Seen.done.append("gate")
    await Seen.open.wait()
    return "through"


@workflow(access=anonymous(), durable=True)
async def impatient(ctx) -> Any:
    try:
        async with asyncio.timeout(0.1):
            await ctx.wait_for("go")
    except TimeoutError:
        return await ctx.step(gate)
    return "came"


@workflow(access=anonymous(), durable=True)
async def beside(ctx) -> Any:
    step = asyncio.create_task(ctx.step(gate))
    await asyncio.sleep(0)
    await ctx.sleep(1.5)
    return await step


@workflow(access=anonymous(), durable=True)
async def gathered(ctx) -> str:
    try:
        await asyncio.gather(ctx.step(gate), ctx.sleep(3600))
    except RuntimeError as error:
        return str(error)
    return ""


@workflow(access=anonymous(), durable=True)
async def greedy(ctx) -> Any:
    while not Seen.open.is_set():
        try:
            return (await ctx.wait_for("go")).body
        except BaseException:
            Seen.done.append("caught")


async def test_a_run_whose_code_gives_up_a_wait_does_not_wait_any_longer(durable_host: Host) -> None:
    durable_host.serve(impatient)
    run_id = await durable_host.accept(impatient)
    row = await durable_host.phase(run_id, "running")
    assert (row.waits_for, row.wakes_at) == (None, None)
    while not Seen.done:
        await asyncio.sleep(0.01)
    await durable_host.crash()  # it does not wait for a signal that never comes
    Seen.open.set()
    await durable_host.take_over()
    assert (await durable_host.outcome(run_id)).outputs == '"through"'


async def begun(waits: asyncio.Event) -> bool:
    """Whether the wait has begun, or the timeout was quicker."""
    return waits.is_set() or bool(Seen.done)


@pytest.mark.parametrize("late", [begin_wait, end_wait])
async def test_a_timeout_that_comes_while_a_wait_begins_or_ends_leaves_no_run_that_waits(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch, late: Any
) -> None:
    """The journal has written, and its reply is late."""
    write, host = durable_host.waits._write, durable_host
    cut_off, waits = [True], asyncio.Event()

    async def slowly(operation: Any) -> Any:
        done = await write(operation)
        waits.set()
        if operation.func is late and cut_off:
            cut_off.clear()
            (execution,) = host.engine.executions.values()
            async with asyncio.timeout(20):
                while not execution.task.cancelling():
                    await asyncio.sleep(0.01)
        return done

    monkeypatch.setattr(durable_host.waits, "_write", slowly)
    durable_host.serve(impatient)
    run_id = await durable_host.accept(impatient)
    await durable_host.until(lambda: begun(waits))
    if late is end_wait:
        await durable_host.send(run_id, "{}")
    async with asyncio.timeout(20):
        while not Seen.done:
            await asyncio.sleep(0.01)
    row = await durable_host.durable(run_id)
    assert (row.phase, row.waits_for) == ("running", None)
    assert durable_host.engine.executions[run_id].turn
    Seen.open.set()
    assert (await durable_host.outcome(run_id)).outputs == '"through"'


@pytest.mark.parametrize("durable_host", [{"held": 0.05}], indirect=True)
async def test_a_run_stays_in_memory_while_a_step_is_under_way_beside_its_wait(durable_host: Host) -> None:
    durable_host.serve(beside)
    run_id = await durable_host.accept(beside)
    await durable_host.phase(run_id, "waiting")
    await asyncio.sleep(0.3)
    assert run_id in durable_host.engine.executions
    await durable_host.phase(run_id, "running")
    Seen.open.set()
    row = await durable_host.outcome(run_id)
    assert (row.outputs, Seen.done, (await durable_host.durable(run_id)).attempt) == ('"through"', ["gate"], 1)


async def test_a_step_beside_a_wait_may_end_when_the_process_stops(durable_host: Host) -> None:
    durable_host.serve(beside)
    run_id = await durable_host.accept(beside)
    await durable_host.phase(run_id, "waiting")
    durable_host.drain()
    await asyncio.sleep(0.1)
    assert not durable_host.engine.executions[run_id].left
    Seen.open.set()
    await durable_host.until(lambda: _rests(durable_host, run_id))
    await durable_host.restart()
    assert (await durable_host.outcome(run_id)).outputs == '"through"'
    assert Seen.done == ["gate"]


async def _rests(host: Host, run_id: str) -> bool:
    execution = host.engine.executions.get(run_id)
    return execution is None or not execution.works


async def test_a_wait_in_a_task_is_an_error_of_its_author(durable_host: Host) -> None:
    durable_host.serve(gathered)
    run_id = await durable_host.accept(gathered)
    assert "without a task" in ((await durable_host.outcome(run_id)).outputs or "")


@pytest.mark.parametrize("durable_host", [{"held": 0.05}], indirect=True)
async def test_code_that_catches_the_end_of_its_execution_for_ever_stops_nothing_else(durable_host: Host) -> None:
    durable_host.serve(greedy)
    run_id = await durable_host.accept(greedy)
    try:
        async with asyncio.timeout(20):
            while len(Seen.done) < 4:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            assert len(Seen.done) < 7
            await durable_host.send(run_id, "1")
            assert (await durable_host.outcome(run_id)).outputs == "1"
            assert durable_host.engine._turns.free == 32
    finally:
        Seen.open.set()
