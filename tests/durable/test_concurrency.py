"""A durable run whose key has a run already waits for it, and begins when that has ended."""

import asyncio
from typing import Any

import pytest

from postern import anonymous, workflow
from tests.durable.host import Host

pytestmark = pytest.mark.anyio


class Gate:
    """What the runs of order 1 wait for, new in each test's event loop."""

    open: asyncio.Event


BEGUN: list[str] = []


@workflow(access=anonymous(), durable=True, concurrency_key=lambda caller, body: body["order"])
async def of_order(ctx: Any, body: dict[str, Any]) -> None:
    BEGUN.append(ctx.run_id)
    if body["order"] == 1:
        await Gate.open.wait()


@workflow(access=anonymous(), durable=True, singleton=True)
async def alone(ctx: Any) -> None:
    BEGUN.append(ctx.run_id)
    await Gate.open.wait()


async def test_a_run_waits_for_the_run_of_its_key_and_no_other(durable_host: Host) -> None:
    BEGUN.clear()
    Gate.open = asyncio.Event()
    durable_host.serve(of_order, alone)
    first = await durable_host.accept(of_order, b'{"order": 1}')
    second = await durable_host.accept(of_order, b'{"order": 1}')
    third = await durable_host.accept(of_order, b'{"order": 2}')
    one, two = await durable_host.accept(alone), await durable_host.accept(alone)
    await durable_host.outcome(third)
    await durable_host.phase(one, "running")
    assert [(await durable_host.durable(each)).phase for each in (second, two)] == ["ready", "ready"]
    Gate.open.set()
    for run_id in (first, second, one, two):
        assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert [each for each in BEGUN if each in (first, second)] == [first, second]
