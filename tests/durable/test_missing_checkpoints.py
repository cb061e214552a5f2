"""A run whose checkpoints are older than the journal is parked, and repeats nothing until an operator says so."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from postern import anonymous, workflow
from postern.durable.checkpoints_database import checkpoints_engine
from postern.journal.durable_ends import resume
from tests.durable.host import TENANT, Host

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("durable_host", [{"held": 0.02}], indirect=True)]

DONE: list[str] = []


async def one() -> str:
    DONE.append("one")
    return "1"


async def two() -> str:
    DONE.append("two")
    return "2"


@workflow(access=anonymous(), durable=True)
async def waits(ctx) -> Any:
    return [await ctx.step(one), await ctx.step(two), (await ctx.wait_for("go")).body]


def forget(host: Host, run_id: str, condition: str) -> None:
    """The run has the checkpoints of an earlier moment: those for which this does not hold, or it is not known."""
    engine = checkpoints_engine(host.url)
    prefix = "" if engine.dialect.name == "sqlite" else "dbos."
    with engine.begin() as connection:
        for table in ("operation_outputs", *(("workflow_status",) if not condition else ())):
            gone = f"DELETE FROM {prefix}{table} WHERE workflow_uuid = :run {condition}"
            connection.execute(text(gone), {"run": run_id})
    engine.dispose()


async def restored(host: Host, condition: str) -> str:
    """A run that waits in no memory when its server process dies, and then has the checkpoints of an earlier moment."""
    DONE.clear()
    host.serve(waits)
    run_id = await host.accept(waits)

    async def evicted() -> bool:
        row = await host.durable(run_id)
        return row.phase == "waiting" and row.owner is None

    await host.until(evicted)
    await host.crash()
    forget(host, run_id, condition)
    await host.take_over()
    return run_id


async def resumed(host: Host, run_id: str) -> None:
    by = json.dumps([TENANT, "lisa"])
    await host.journal.write(partial(resume, run_id=run_id, by=by, from_start=False))
    host.engine.accepted()


@pytest.mark.parametrize(
    ("condition", "repeated"),
    [("AND function_id > 1", ["two"]), ("", ["one", "two"]), ("AND function_id > 2", [])],
    ids=["a step", "all of them", "the wait"],
)
async def test_the_run_is_parked_before_it_repeats_anything(
    durable_host: Host, condition: str, repeated: list[str]
) -> None:
    run_id = await restored(durable_host, condition)
    await durable_host.send(run_id, '"sent"')
    row = await durable_host.phase(run_id, "parked")
    assert (row.reason, DONE) == ("checkpoints-missing", ["one", "two"])
    await resumed(durable_host, run_id)
    outcome = await durable_host.outcome(run_id)
    assert (outcome.outputs, DONE) == ('["1","2","sent"]', ["one", "two", *repeated])


class Gate:
    """What the last step waits for, new in each test's event loop."""

    begun: asyncio.Event
    open: asyncio.Event


async def gate() -> str:
    DONE.append("gate")
    Gate.begun.set()
    await Gate.open.wait()
    return "3"


@workflow(access=anonymous(), durable=True)
async def never_waits(ctx) -> Any:
    return [await ctx.step(one), await ctx.step(two), await ctx.step(gate)]


@pytest.mark.parametrize(
    ("condition", "repeated"),
    [("AND function_id > 1", ["two", "gate"]), ("", ["one", "two", "gate"]), ("AND function_id > 2", ["gate"])],
    ids=["a step", "all of them", "none"],
)
async def test_so_is_a_run_that_has_not_waited_since_its_steps(
    durable_host: Host, condition: str, repeated: list[str]
) -> None:
    """Its record has its steps."""
    DONE.clear()
    Gate.begun, Gate.open = asyncio.Event(), asyncio.Event()
    durable_host.serve(never_waits)
    run_id = await durable_host.accept(never_waits)
    await asyncio.wait_for(Gate.begun.wait(), 20)
    query = text("SELECT count(*) FROM steps")

    async def recorded() -> bool:
        return bool(await durable_host.journal.read(lambda connection: connection.execute(query).scalar()) == 2)

    await durable_host.until(recorded)
    await durable_host.crash()
    forget(durable_host, run_id, condition)
    Gate.open.set()
    await durable_host.take_over()
    if repeated != ["gate"]:
        row = await durable_host.phase(run_id, "parked")
        assert (row.reason, DONE) == ("checkpoints-missing", ["one", "two", "gate"])
        await resumed(durable_host, run_id)
    outcome = await durable_host.outcome(run_id)
    assert (outcome.outputs, DONE) == ('["1","2","3"]', ["one", "two", "gate", *repeated])
