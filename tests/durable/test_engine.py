"""A durable run goes on where it was, whatever happens to the server process that runs it."""

import asyncio
import time

import pytest

from postern import anonymous, workflow
from postern.durable import resumed_queue
from postern.durable.dbos_engine import DbosCheckpoints
from tests.durable.host import Host

pytestmark = pytest.mark.anyio

DONE: list[str] = []


class Gate:
    """What a step waits for, new in each test's event loop."""

    begun: asyncio.Event
    open: asyncio.Event
    between: asyncio.Event
    goes_on: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_done() -> None:
    DONE.clear()
    Gate.begun, Gate.open, Gate.between, Gate.goes_on = (asyncio.Event() for _ in range(4))


async def first() -> str:
    DONE.append("first")
    return "1"


async def second(before: str) -> str:
    DONE.append("second")
    Gate.begun.set()
    await Gate.open.wait()
    return before + "2"


@workflow(access=anonymous(), durable=True)
async def two_steps(ctx) -> str:
    result: str = await ctx.step(second, await ctx.step(first))
    return result


async def test_a_run_has_the_outcome_of_its_function(durable_host: Host) -> None:
    durable_host.serve(two_steps)
    Gate.open.set()
    row = await durable_host.result(two_steps)
    assert (row.state, row.outputs) == ("Succeeded", '"12"')
    assert DONE == ["first", "second"]


async def test_runs_that_go_on_wait_for_no_look_of_dbos(durable_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """There would be one in some seconds, and in these no more runs than there are turns would go on."""
    monkeypatch.setattr(resumed_queue, "POLL_SECONDS", 3600.0)
    durable_host.serve(two_steps)
    accepted = [await durable_host.accept(two_steps) for _ in range(7)]

    async def begun() -> bool:
        return DONE.count("second") == 7

    await durable_host.until(begun)
    await durable_host.crash()
    Gate.open.set()
    await durable_host.take_over()
    assert {(await durable_host.outcome(run_id)).outputs for run_id in accepted} == {'"12"'}
    assert sorted(DONE) == ["first"] * 7 + ["second"] * 14


async def test_a_finished_step_is_not_repeated_after_a_crash(durable_host: Host) -> None:
    durable_host.serve(two_steps)
    run_id = await durable_host.accept(two_steps)
    await asyncio.wait_for(Gate.begun.wait(), 20)
    await durable_host.crash()
    Gate.open.set()
    await durable_host.take_over()
    row = await durable_host.outcome(run_id)
    assert (row.state, row.outputs) == ("Succeeded", '"12"')
    assert DONE == ["first", "second", "second"]
    assert (await durable_host.durable(run_id)).deaths == 1


@workflow(access=anonymous(), durable=True)
async def cut_short(ctx) -> list[str]:
    found = [await ctx.step(first)]
    Gate.between.set()
    await Gate.goes_on.wait()
    try:
        async with asyncio.timeout(0.05 if DONE == ["first"] else None):
            found.append(await ctx.step(first, name="cut"))
    except TimeoutError:
        DONE.append("timeout")
    return [*found, await ctx.step(first, name="last"), await ctx.step(second, "")]


async def test_a_step_that_is_cancelled_before_dbos_looks_at_it_has_its_number(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop of DBOS is busy meanwhile, in an execution that is not the first."""
    usual = DbosCheckpoints.step

    async def step(self, name, body):
        if name == "step cut" and "timeout" not in DONE:
            self._loop.call_soon_threadsafe(time.sleep, 0.3)
        return await usual(self, name, body)

    monkeypatch.setattr(DbosCheckpoints, "step", step)
    durable_host.serve(cut_short)
    run_id = await durable_host.accept(cut_short)
    await asyncio.wait_for(Gate.between.wait(), 20)
    await durable_host.crash()
    Gate.goes_on.set()
    await durable_host.take_over()
    await asyncio.wait_for(Gate.begun.wait(), 20)
    await durable_host.crash()
    Gate.open.set()
    await durable_host.take_over()
    row = await durable_host.outcome(run_id)
    assert (row.state, row.outputs) == ("Succeeded", '["1","1","1","2"]')
    assert DONE == ["first", "timeout", "first", "second", "first", "second"]
