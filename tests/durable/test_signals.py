"""A durable run takes the signals that were sent to it: early or late, each once, in their order."""

import asyncio
from typing import Any

import pytest

from postern import anonymous, workflow
from postern.journal.durable_tables import signals
from postern.journal.signals import Arrival
from tests.durable.host import Host

pytestmark = pytest.mark.anyio


@workflow(access=anonymous(), durable=True)
async def two(ctx) -> list[Any]:
    first, second = await ctx.wait_for("go"), await ctx.wait_for("go")
    return [first.body, second.body, dict(first.sent_by), first.name]


@workflow(access=anonymous(), durable=True)
async def patient(ctx) -> Any:
    found = await ctx.wait_for("go", timeout=0.1)
    return None if found is None else found.body


@workflow(access=anonymous(), durable=True)
async def many_waits(ctx) -> str:
    try:
        await asyncio.gather(ctx.wait_for("a"), ctx.wait_for("b"))
    except RuntimeError as error:
        return str(error)
    return ""


async def waits(host: Host, run_id: str) -> None:
    row = await host.phase(run_id, "waiting")
    assert (row.reason, row.waits_for) == ("signal", "go")


async def test_signals_wake_a_run_that_waits_and_are_taken_in_their_order(shared_host: Host) -> None:
    shared_host.serve(two)
    run_id = await shared_host.accept(two)
    await waits(shared_host, run_id)
    assert await shared_host.send(run_id, '{"n": 1}') is Arrival.ARRIVED
    assert await shared_host.send(run_id, "2", name="other") is Arrival.ARRIVED
    assert await shared_host.send(run_id, '{"n": 2}') is Arrival.ARRIVED
    row = await shared_host.outcome(run_id)
    sent_by = '{"kind":"user","object_id":"mia","client_id":null,"name":"Mia"}'
    assert row.outputs == f'[{{"n":1}},{{"n":2}},{sent_by},"go"]'


async def test_a_run_that_no_process_has_in_memory_goes_on_with_its_signals(
    shared_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_host.waits, "_held", 0.05)  # a run that waits leaves the memory after a moment
    shared_host.serve(two)
    run_id = await shared_host.accept(two)
    await waits(shared_host, run_id)
    for body in ("1", "2"):
        await shared_host.until(lambda: evicted(shared_host, run_id))
        assert await shared_host.send(run_id, body) is Arrival.ARRIVED
        if body == "1":
            await shared_host.until(lambda: taken(shared_host, run_id))
    assert (await shared_host.outcome(run_id)).outputs.startswith("[1,2,")
    assert (await shared_host.durable(run_id)).attempt == 3


async def test_signals_that_came_early_or_while_no_process_ran_are_taken(shared_host: Host) -> None:
    shared_host.serve(two)
    run_id = await shared_host.accept(two)
    await waits(shared_host, run_id)
    await shared_host.crash()
    for body in ("1", "2"):
        await shared_host.send(run_id, body)
    await shared_host.take_over()
    assert (await shared_host.outcome(run_id)).outputs.startswith("[1,2,")


async def test_a_signal_at_another_process_wakes_a_run_that_waits_here(
    shared_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_host.serve(two)
    run_id = await shared_host.accept(two)
    await waits(shared_host, run_id)
    monkeypatch.setattr(shared_host.signals, "come", lambda _: None)  # the other process wakes nothing here
    for body in ("1", "2"):
        await shared_host.send(run_id, body)

    async def looked() -> Any:
        await shared_host.wakes.look()
        row = await shared_host.durable(run_id)
        return row if row.phase == "ended" else None

    await shared_host.until(looked)
    assert (await shared_host.row(run_id)).outputs.startswith("[1,2,")


async def test_a_crash_between_two_waits_takes_no_signal_twice(shared_host: Host) -> None:
    shared_host.serve(two)
    run_id = await shared_host.accept(two)
    await shared_host.send(run_id, "1")
    await shared_host.until(lambda: taken(shared_host, run_id))
    await waits(shared_host, run_id)
    await shared_host.crash()
    await shared_host.send(run_id, "2")
    await shared_host.take_over()
    assert (await shared_host.outcome(run_id)).outputs.startswith("[1,2,")


async def test_without_a_signal_in_time_there_is_none(shared_host: Host) -> None:
    shared_host.serve(patient)
    assert (await shared_host.result(patient)).outputs == "null"


async def test_a_run_waits_for_one_thing_at_a_time(shared_host: Host) -> None:
    shared_host.serve(many_waits)
    assert "one thing at a time" in (await shared_host.result(many_waits)).outputs


async def test_what_was_sent_is_gone_with_the_success_of_its_run(shared_host: Host) -> None:
    shared_host.serve(two)
    run_id = await shared_host.accept(two)
    for body in ("1", "2", "3"):
        await shared_host.send(run_id, body)
    await shared_host.outcome(run_id)
    query = signals.select().where(signals.c.run_id == run_id)
    rows = await shared_host.journal.read(lambda connection: connection.execute(query).all())
    assert [row.body for row in rows] == [None] * 3
    assert await shared_host.send(run_id, "4") is Arrival.ENDED


async def evicted(host: Host, run_id: str) -> bool:
    row = await host.durable(run_id)
    return row.phase == "waiting" and row.owner is None


async def taken(host: Host, run_id: str) -> bool:
    query = signals.select().where(signals.c.run_id == run_id, signals.c.taken_by.is_not(None))
    found = await host.journal.read(lambda connection: connection.execute(query).first())
    return found is not None and (await host.durable(run_id)).phase == "waiting"
