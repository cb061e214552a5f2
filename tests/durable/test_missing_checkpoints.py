"""A run whose checkpoints are older than the journal is parked, and repeats nothing until an operator says so."""

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
    engine = checkpoints_engine(host.url)
    prefix = "" if engine.dialect.name == "sqlite" else "dbos."
    with engine.begin() as connection:
        for table in ("operation_outputs", *(("workflow_status",) if not condition else ())):
            gone = f"DELETE FROM {prefix}{table} WHERE workflow_uuid = :run {condition}"
            assert connection.execute(text(gone), {"run": run_id}).rowcount
    engine.dispose()
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
