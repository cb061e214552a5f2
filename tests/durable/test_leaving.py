"""A server process that stops lets its runs go; one that was taken for gone leaves those that it has lost."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog

from postern import Context, Retry, anonymous, workflow
from postern.journal.durable_runs import begin_wait
from tests.durable.host import TAKE_OVER, Host
from tests.journal.operations import execute

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@workflow(access=anonymous(), durable=True)
async def nap(ctx: Context) -> str:
    await ctx.sleep(3600)
    return "slept"


async def test_runs_that_wait_are_let_go_when_the_server_begins_to_stop(durable_host: Host):
    durable_host.serve(nap)
    run_id = await durable_host.accept(nap)
    await durable_host.phase(run_id, "waiting")
    durable_host.drain()
    await is_let_go(durable_host, run_id)


async def test_a_run_that_begins_to_wait_while_the_server_begins_to_stop_is_let_go(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
):
    """The journal says that it waits before its own process knows."""
    write = durable_host.waits._write

    async def stops_meanwhile(operation: Any) -> Any:
        written = await write(operation)
        if operation.func is begin_wait:
            durable_host.drain()
        return written

    monkeypatch.setattr(durable_host.waits, "_write", stops_meanwhile)
    durable_host.serve(nap)
    await is_let_go(durable_host, await durable_host.accept(nap))


async def is_let_go(host: Host, run_id: str) -> None:
    """The run waits in the database only."""

    async def is_free() -> Any:
        row = await host.durable(run_id)
        return row if (row.phase, row.owner, host.engine.idle) == ("waiting", None, True) else None

    row = await host.until(is_free)
    assert (row.reason, row.deaths) == ("sleeping", 0)


async def test_a_step_under_way_may_end_and_the_next_one_is_anothers(durable_host: Host):
    began, may_end, steps = asyncio.Event(), asyncio.Event(), list[int]()

    @workflow(access=anonymous(), durable=True)
    async def two(ctx: Context) -> list[int]:
        async def step(number: int) -> int:
            steps.append(number)
            began.set()
            await may_end.wait()
            return number

        return [await ctx.step(step, 1), await ctx.step(step, 2)]

    durable_host.serve(two)
    run_id = await durable_host.accept(two)
    await began.wait()
    durable_host.drain()
    assert not durable_host.engine.idle
    may_end.set()
    row = await durable_host.phase(run_id, "ready")
    assert (row.owner, row.deaths) == (None, 0)
    assert steps == [1]
    await durable_host.restart()
    assert (await durable_host.outcome(run_id)).outputs == "[1,2]"
    assert steps == [1, 2]


async def test_a_process_that_comes_back_leaves_what_others_have_taken_over(durable_host: Host):
    began, runs = asyncio.Event(), list[int]()

    @workflow(access=anonymous(), durable=True)
    async def long(ctx: Context) -> str:
        runs.append(1)
        began.set()
        if len(runs) == 1:
            await asyncio.sleep(60)
        return "done"

    durable_host.serve(long)
    run_id = await durable_host.accept(long)
    await began.wait()
    await durable_host.engine.check_holds()
    assert run_id in durable_host.engine.executions
    await durable_host.journal.write(partial(execute, statement=TAKE_OVER.format(durable_host.engine._node)))
    await durable_host.engine.check_holds()
    durable_host.engine.accepted()
    assert (await durable_host.outcome(run_id)).outputs == '"done"'
    assert (await durable_host.durable(run_id)).deaths == 1


async def test_a_further_attempt_of_a_step_is_compared_too(durable_host: Host):
    attempts = list[int]()

    @workflow(access=anonymous(), durable=True)
    async def retried(ctx: Context) -> str:
        async def step() -> str:
            attempts.append(durable_host.engine.executions[ctx.run_id].hold.attempt)
            if len(attempts) == 1:
                taken = TAKE_OVER.format(durable_host.engine._node)
                await durable_host.journal.write(partial(execute, statement=taken))
                raise TimeoutError
            return "done"

        return await ctx.step(step, retry=Retry(count=3, interval=0.01))

    durable_host.serve(retried)
    assert (await durable_host.result(retried)).outputs == '"done"'
    assert attempts == [1, 2]


async def test_a_run_that_ends_while_a_process_looks_for_lost_ones_is_not_lost(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
):
    may_end = asyncio.Event()

    @workflow(access=anonymous(), durable=True)
    async def ends(ctx: Context) -> str:
        await may_end.wait()
        return "done"

    durable_host.serve(ends)
    run_id = await durable_host.accept(ends)
    await durable_host.phase(run_id, "running")
    executions = durable_host.engine._executions

    async def is_here() -> bool:
        return run_id in executions.here

    await durable_host.until(is_here)
    works = executions._works

    async def read(operation: Any) -> Any:
        may_end.set()
        await durable_host.phase(run_id, "ended")
        return await works.read(operation)

    monkeypatch.setattr(executions, "_works", replace(works, read=read))
    with structlog.testing.capture_logs() as lines:
        await executions.check_holds()
    assert [line for line in lines if line["event"] == "durable-runs-lost"] == []
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
