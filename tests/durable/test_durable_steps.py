"""Steps of durable runs: what an author's code gets is the same in each execution."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from postern import CallError, Problem, Retry, anonymous, workflow
from postern.authoring.call_result import Handle
from postern.authoring.waits import StepError
from postern.journal.schema import calls, steps
from tests.durable.host import Host

pytestmark = pytest.mark.anyio

ONCE = Retry(count=0)


class Seen:
    """What the code of a test did, and the gate before its last step, new in each test's event loop."""

    done: list[Any]
    keys: list[str]
    begun: asyncio.Event
    open: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_seen() -> None:
    Seen.done, Seen.keys = [], []
    Seen.begun, Seen.open = asyncio.Event(), asyncio.Event()


class Strange(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def unserializable() -> set[int]:
    return {1, 2}


async def plain_set():
    Seen.done.append("set")
    return {1, 2}


async def large() -> str:
    Seen.done.append("large")
    return "x" * 3000


async def strange() -> None:
    Seen.done.append("strange")
    raise Strange("x")


async def taken() -> None:
    Seen.done.append("taken")
    raise Problem(409, "taken", members={"seat": 3})


async def mistaken() -> None:
    Seen.done.append("mistaken")
    raise KeyError("seat")


def leaves() -> None:
    Seen.done.append("leaves")
    raise SystemExit(3)


async def wait() -> None:
    Seen.begun.set()
    await Seen.open.wait()


FAILING = (plain_set, large, strange, taken, mistaken, leaves)


@workflow(access=anonymous(), durable=True)
async def failing(ctx) -> list[Any]:
    caught: list[Any] = []
    for function in FAILING:
        try:
            await ctx.step(function, retry=ONCE)
        except Exception as error:
            kind = error.type if isinstance(error, StepError) else type(error).__name__
            more = error.members if isinstance(error, Problem) else {}
            caught.append([function.__name__, kind, error.args[-1], more])
    Seen.done.append(caught)
    await ctx.step(wait)
    return caught


@workflow(access=anonymous(), durable=True)
async def typed(ctx) -> str:
    found = await ctx.step(unserializable)
    return type(found).__name__


@workflow(access=anonymous(), durable=True)
async def parallel(ctx) -> list[int]:
    return list(await asyncio.gather(*(ctx.step(double, each, name=f"double {each}") for each in range(5))))


async def double(number: int) -> int:
    for _ in range(5 - number):
        await asyncio.sleep(0)
    Seen.done.append(number)
    return number * 2


async def nested(ctx: Any) -> str:
    await ctx.step(double, 1)
    await ctx.call("other", {"in": "a step"})
    return "nested"


@workflow(access=anonymous(), durable=True)
async def calling(ctx) -> list[Any]:
    handle = await ctx.call("other", {"a": 1}, wait=False)
    first = await ctx.step(nested, ctx)
    second = await ctx.call("other", {"b": 1})
    try:
        await ctx.call("refuses")
    except CallError as error:
        third = [error.status, error.code, str(error)]
    await ctx.step(wait)
    return [first, second, third, await handle.result()]


async def test_an_error_of_a_step_is_the_same_in_each_execution(durable_host: Host) -> None:
    durable_host.serve(failing)
    run_id = await durable_host.accept(failing)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    first = Seen.done[-1]
    assert [[name, kind] for name, kind, *_ in first] == [
        ["plain_set", "BadResult"],
        ["large", "BadResult"],
        ["strange", "Strange"],
        ["taken", "Problem"],
        ["mistaken", "KeyError"],
        ["leaves", "SystemExit"],
    ]
    assert first[3][3] == {"seat": 3}
    assert "POSTERN_MAX_RESULT_BYTES allows 1024" in first[1][2]
    await durable_host.crash()
    await durable_host.take_over()
    Seen.open.set()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert Seen.done == ["set", "large", "strange", "taken", "mistaken", "leaves", first, first]


async def test_the_annotation_of_a_step_says_what_its_result_reads_back_as(durable_host: Host) -> None:
    durable_host.serve(typed)
    assert (await durable_host.result(typed)).outputs == '"set"'


async def test_parallel_steps_have_the_numbers_of_their_order(durable_host: Host) -> None:
    durable_host.serve(parallel)
    run_id = await durable_host.accept(parallel)
    assert (await durable_host.outcome(run_id)).outputs == "[0,2,4,6,8]"
    assert await recorded(durable_host, run_id) == [(each + 1, f"double {each}", 1) for each in range(5)]


async def test_calls_have_the_same_keys_in_each_execution_and_are_made_once(durable_host: Host) -> None:
    async def called(ctx: Any, outgoing: Any) -> Any:
        Seen.keys.append(outgoing.key)
        if outgoing.trigger == "refuses":
            raise CallError("workflow refuses", "refused", status=409, problem={"code": "taken"})
        if not outgoing.wait:
            return Handle("workflow other", run_id="r", location="/runs/r/result", done=False, fetch=None)  # type: ignore[arg-type]
        return f"result of {outgoing.path}" if outgoing.path else Seen.keys.count(outgoing.key)

    durable_host.calls = called
    durable_host.serve(calling)
    run_id = await durable_host.accept(calling)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    made = list(Seen.keys)
    assert len(set(made)) == 4
    await durable_host.crash()
    await durable_host.take_over()
    Seen.open.set()
    row = await durable_host.outcome(run_id)
    assert row.outputs == '["nested",1,[409,"taken","refused"],"result of /runs/r/result"]'
    assert Seen.keys == [*made, made[0]]  # the result of the first call was still to be had
    assert Seen.done == [1]
    assert await recorded(durable_host, run_id) == [(1, "nested", 1), (2, "wait", 1), (10002, "double", 1)]
    query = select(calls.c.number, calls.c.name, calls.c.error_type).where(calls.c.run_id == run_id)
    found = await durable_host.journal.read(lambda connection: connection.execute(query.order_by("number")).all())
    assert [tuple(row) for row in found] == [
        (1, "other", None),
        (2, "other", None),
        (3, "refuses", "CallError"),
        (10002, "other", None),
    ]


async def recorded(host: Host, run_id: str) -> list[tuple[Any, ...]]:
    """The recorded steps of a run, with their numbers and whether they succeeded."""
    query = select(steps.c.number, steps.c.name, steps.c.succeeded).where(steps.c.run_id == run_id)

    async def found() -> Any:
        return await host.journal.read(lambda connection: connection.execute(query.order_by("number")).all())

    return [tuple(row) for row in await host.until(found)]
