"""A durable run goes on where it was, whatever happens to the server process that runs it."""

import asyncio

import pytest

from postern import anonymous, workflow
from tests.durable.host import Host

pytestmark = pytest.mark.anyio

DONE: list[str] = []


class Gate:
    """What a step waits for, new in each test's event loop."""

    begun: asyncio.Event
    open: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_done() -> None:
    DONE.clear()
    Gate.begun, Gate.open = asyncio.Event(), asyncio.Event()


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
