"""A durable run is cancelled by the server process that has it, whichever process was asked to."""

import asyncio
from functools import partial

import pytest

from postern import anonymous, workflow
from postern.durable.cancellations import Cancellations
from postern.journal.durable_ends import Cancelled, cancel
from postern.journal.reading.queries import request_cancel
from tests.durable.host import TAKE_OVER, Host
from tests.journal.operations import execute

pytestmark = pytest.mark.anyio

BY = '{"kind":"user","object_id":"o"}'


class Gate:
    """What a step waits for, new in each test's event loop."""

    begun: asyncio.Event


async def never() -> None:
    Gate.begun.set()
    await asyncio.Event().wait()


@workflow(access=anonymous(), durable=True)
async def runs(ctx) -> None:
    await ctx.step(never)


@workflow(access=anonymous(), durable=True)
async def sleeps(ctx) -> None:
    await ctx.sleep("30d")


@pytest.fixture
async def ended(shared_host: Host) -> list[str]:
    Gate.begun = asyncio.Event()
    shared_host.serve(runs, sleeps)
    return []


def cancellations(host: Host, ended: list[str]) -> Cancellations:
    return Cancellations(host.engine, host.engine._node, host.journal.read, host.journal.write, ended.append)


async def test_the_process_that_runs_it_ends_a_run_that_another_one_was_asked_to_cancel(
    shared_host: Host, ended: list[str]
) -> None:
    run_id = await shared_host.accept(runs)
    await asyncio.wait_for(Gate.begun.wait(), 20)
    asked = partial(cancel, run_id=run_id, now=1.0, by=BY)
    assert await shared_host.journal.write(asked) is Cancelled.REQUESTED
    await cancellations(shared_host, ended).look()
    row = await shared_host.outcome(run_id)
    assert (row.state, row.cancelled_by, row.status) == ("Cancelled", BY, 409)


async def test_the_process_that_has_a_waiting_run_in_memory_forgets_it(shared_host: Host, ended: list[str]) -> None:
    run_id = await shared_host.accept(sleeps)
    await shared_host.phase(run_id, "waiting")
    asked = partial(cancel, run_id=run_id, now=1.0, by=BY)
    assert await shared_host.journal.write(asked) is Cancelled.ENDED
    await cancellations(shared_host, ended).look()
    assert (await shared_host.durable(run_id)).owner is None

    async def forgotten() -> bool:
        return run_id not in shared_host.engine.executions

    await shared_host.until(forgotten)
    assert (await shared_host.row(run_id)).state == "Cancelled"


async def test_a_run_whose_process_died_after_it_was_asked_to_cancel_it_ends(
    shared_host: Host, ended: list[str]
) -> None:
    run_id = await shared_host.accept(sleeps)
    await shared_host.phase(run_id, "waiting")
    assert await shared_host.journal.write(partial(request_cancel, run_id=run_id, now=1.0, by=BY))
    taken_over = TAKE_OVER.format(shared_host.engine._node)
    await shared_host.journal.write(partial(execute, statement=taken_over))
    await cancellations(shared_host, ended).look()
    assert ended == [run_id]
    assert (await shared_host.outcome(run_id)).state == "Cancelled"
