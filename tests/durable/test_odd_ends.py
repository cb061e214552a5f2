"""Code that ends in an odd way has one outcome and one record, in a durable run as in an inline one."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import func, select

from postern import anonymous, workflow
from postern.authoring.waits import StepError
from postern.journal.schema import runs, steps
from tests.durable.host import Host

pytestmark = pytest.mark.anyio

ODD: dict[str, type[BaseException]] = {
    kind.__name__: kind
    for kind in (
        GeneratorExit,
        StopIteration,
        StopAsyncIteration,
        KeyboardInterrupt,
        SystemExit,
        asyncio.CancelledError,
        BaseException,
    )
}
CALLED: list[str] = []


def ends(how: str) -> None:
    """End in that way: raise it, or have the current task cancelled."""
    CALLED.append(how)
    if how == "cancels itself":
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return
    raise ODD[how]("odd")


async def ends_in_step(how: str) -> None:
    ends(how)
    await asyncio.sleep(0)


def ends_in_thread(how: str) -> None:
    ends(how)


@workflow(access=anonymous(), durable=True)
async def in_function(ctx, body: str) -> str:
    ends(body)
    await asyncio.sleep(0)
    return "not reached"


@workflow(access=anonymous(), durable=True)
def in_def(ctx, body: str) -> str:
    ends(body)
    return "not reached"


@workflow(access=anonymous(), durable=True)
async def in_step(ctx, body: str) -> Any:
    function = ends_in_thread if body.startswith("def ") else ends_in_step
    try:
        await ctx.step(function, body.removeprefix("def "))
    except Exception as error:
        return [type(error).__name__, error.type if isinstance(error, StepError) else ""]
    return "not reached"


async def one_record(host: Host, code: Any, how: str) -> Any:
    """The only record of a run of this code, which was called once."""
    CALLED.clear()
    host.serve(code)
    run_id = await host.accept(code, json.dumps(how).encode())
    row = await host.outcome(run_id)
    assert [how.removeprefix("def ")] == CALLED
    count = select(func.count()).where(runs.c.id == run_id)
    assert await host.journal.read(lambda connection: connection.execute(count).scalar()) == 1
    assert (await host.durable(run_id)).phase == "ended"

    async def idle() -> bool:
        """The execution ends a moment after its record."""
        return host.engine.idle

    await host.until(idle)
    return row


@pytest.mark.parametrize("how", [*ODD, "cancels itself"])
async def test_what_a_function_raises_fails_its_run(shared_host: Host, how: str) -> None:
    row = await one_record(shared_host, in_function, how)
    kind = {"StopIteration": "RuntimeError", "cancels itself": "CancelledError"}.get(how, how)
    assert (row.state, row.status, row.error_type) == ("Failed", 500, kind)


@pytest.mark.parametrize("how", list(ODD))
async def test_what_a_def_workflow_raises_fails_its_run(shared_host: Host, how: str) -> None:
    row = await one_record(shared_host, in_def, how)
    kind = "RuntimeError" if how == "StopIteration" else how
    assert (row.state, row.status, row.error_type) == ("Failed", 500, kind)


async def test_a_step_that_cancels_the_run_fails_it(shared_host: Host) -> None:
    row = await one_record(shared_host, in_step, "cancels itself")
    assert (row.state, row.status, row.error_type) == ("Failed", 500, "CancelledError")


@workflow(access=anonymous(), durable=True)
async def returns_cancelled(ctx, body: str) -> str:
    ends(body)
    return "returned"


async def test_a_function_that_cancels_itself_and_returns_has_the_result(shared_host: Host) -> None:
    row = await one_record(shared_host, returns_cancelled, "cancels itself")
    assert (row.state, row.outputs) == ("Succeeded", '"returned"')


@pytest.mark.parametrize("how", [*ODD, *(f"def {each}" for each in ODD)])
async def test_what_a_step_raises_is_an_error_of_the_step(shared_host: Host, how: str) -> None:
    row = await one_record(shared_host, in_step, how)
    name = how.removeprefix("def ")
    if name in ("StopIteration", "StopAsyncIteration") or how == "def GeneratorExit":
        expected = [name if name == "StopAsyncIteration" else "RuntimeError", ""]
    else:
        expected = ["StepError", name]
    assert (row.state, json.loads(row.outputs)) == ("Succeeded", expected)
    query = select(steps.c.name, steps.c.succeeded).where(steps.c.run_id == row.id)
    recorded = await shared_host.journal.read(lambda connection: connection.execute(query).all())
    assert [each.succeeded for each in recorded] == [0]
