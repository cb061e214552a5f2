"""What a durable run prints is on its record once, although its code runs again from its start."""

import sys
from typing import Any

import pytest

from postern import anonymous, workflow
from postern.journal.reading.run_logs import RunLog, run_log
from postern.logs import run_streams, taking
from tests.durable.host import Host

pytestmark = pytest.mark.anyio


async def book() -> str:
    print("in the step")
    return "A-7"


@workflow(access=anonymous(), durable=True)
async def prints(ctx) -> Any:
    print("begins")
    seat = await ctx.step(book)
    print("booked", seat)
    await ctx.wait_for("go")
    print("goes on")
    return seat


@workflow(access=anonymous(), durable=True)
def in_a_thread(ctx) -> str:
    print("as a whole")
    return "done"


@workflow(access=anonymous(), durable=True, secure_outputs=True)
async def hushed(ctx) -> Any:
    print("MARKER")
    return await ctx.step(book)


async def log_of(durable_host: Host, run_id: str) -> RunLog:
    return await durable_host.journal.read(lambda connection: run_log(connection, run_id))


async def test_the_lines_of_a_run_that_another_process_takes_over_are_not_doubled(durable_host: Host):
    durable_host.serve(prints)
    with run_streams(), taking(lambda run_id, said: durable_host.lines.take(run_id, said)):
        run_id = await durable_host.accept(prints)
        await durable_host.phase(run_id, "waiting")
        await durable_host.crash()
        await durable_host.take_over()
        await durable_host.phase(run_id, "waiting")
        await durable_host.send(run_id, '"now"')
        await durable_host.outcome(run_id)
    log = await log_of(durable_host, run_id)
    said = [(attempt, line.text) for attempt, line in log.lines]
    assert [text for _, text in said] == ["begins", "in the step", "booked A-7", "goes on"]
    assert said[-1][0] > said[0][0] == 1


async def test_a_def_workflow_and_a_secured_one(durable_host: Host):
    durable_host.serve(in_a_thread, hushed)
    with run_streams(), taking(lambda run_id, said: durable_host.lines.take(run_id, said)):
        plain, secured = await durable_host.accept(in_a_thread), await durable_host.accept(hushed)
        await durable_host.outcome(plain)
        await durable_host.outcome(secured)
    assert [line.text for _, line in (await log_of(durable_host, plain)).lines] == ["as a whole"]
    assert await log_of(durable_host, secured) == RunLog((), 0, 2)
    assert not hasattr(sys.stdout, "original")
