"""A run that is accepted where a place is free begins there at once, and takes it from no run that waits for one."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from postern import anonymous, workflow
from postern.durable import engine as module
from postern.durable.store import Store
from postern.journal.durable_upkeep import owned
from tests.durable.host import Host

pytestmark = [pytest.mark.anyio, pytest.mark.process]


class Gate:
    """What runs of `waits` wait for, new in each test's event loop."""

    open: asyncio.Event


BEGUN: list[str] = []


@pytest.fixture(autouse=True)
async def nothing_begun() -> None:
    BEGUN.clear()
    Gate.open = asyncio.Event()


async def note(run_id: str) -> None:
    BEGUN.append(run_id)


@workflow(access=anonymous(), durable=True)
async def waits(ctx: Any) -> None:
    await ctx.step(note, ctx.run_id)
    await Gate.open.wait()


@workflow(access=anonymous(), durable=True, max_concurrency=1)
async def limited(ctx: Any) -> None:
    BEGUN.append(ctx.run_id)
    await Gate.open.wait()


async def started(host: Host) -> None:
    """The engine has looked for the first time, and found nothing."""

    async def looked() -> bool:
        return host.engine.store.runs and not host.engine._news

    await host.until(looked)


def no_claims(*_: Any, **__: Any) -> Any:
    raise AssertionError("a run was claimed")


async def test_a_run_that_is_accepted_while_a_place_is_free_needs_no_claim(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable_host.serve(waits)
    await started(durable_host)
    monkeypatch.setattr(module, "claim", no_claims)
    run_id = await durable_host.accept(waits)
    row = await durable_host.durable(run_id)
    assert (row.phase, row.owner, row.attempt) == ("running", durable_host.engine._node, 1)
    Gate.open.set()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert [run_id] == BEGUN


@pytest.mark.parametrize("durable_host", [{"workers": 2}], indirect=True, ids=["two"])
async def test_while_runs_wait_for_a_place_the_oldest_gets_it(durable_host: Host) -> None:
    durable_host.serve(waits)
    await started(durable_host)
    ids = [await durable_host.accept(waits) for _ in range(5)]
    phases = [(await durable_host.durable(run_id)).phase for run_id in ids]
    assert phases == ["running", "running", "ready", "ready", "ready"]
    Gate.open.set()
    for run_id in ids:
        assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert (BEGUN, durable_host.engine._reserved) == (ids, 0)


async def test_a_run_of_a_workflow_with_a_limit_waits_to_be_claimed(durable_host: Host) -> None:
    durable_host.serve(limited)
    await started(durable_host)
    assert durable_host.engine.reserve(limited) is None
    one, two = [await durable_host.accept(limited) for _ in range(2)]
    await durable_host.phase(one, "running")
    assert ((await durable_host.durable(two)).phase, BEGUN) == ("ready", [one])
    Gate.open.set()
    assert (await durable_host.outcome(two)).state == "Succeeded"


async def test_a_run_that_is_accepted_while_the_database_of_checkpoints_opens_is_claimed_then(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, goes_on = Store.start, asyncio.Event()

    async def start(self: Store) -> None:
        await goes_on.wait()
        await usual(self)

    await durable_host.restart()
    monkeypatch.setattr(Store, "start", start)
    await durable_host.restart()
    durable_host.serve(waits)
    run_id = await durable_host.accept(waits)
    assert (await durable_host.durable(run_id)).phase == "ready"
    goes_on.set()
    Gate.open.set()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert [run_id] == BEGUN


async def test_a_crash_before_a_run_with_a_place_has_begun_leaves_it_to_the_next_process(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable_host.serve(waits)
    await started(durable_host)
    monkeypatch.setattr(durable_host.engine, "_begin", lambda _: None)
    run_id = await durable_host.accept(waits)
    await durable_host.crash()
    Gate.open.set()
    await durable_host.take_over()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    row = await durable_host.durable(run_id)
    assert (row.attempt, row.deaths, BEGUN) == (2, 1, [run_id])


async def test_a_run_that_was_accepted_here_and_begins_nowhere_is_put_back(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller went away in the moment in which it was committed."""
    durable_host.serve(waits)
    await started(durable_host)
    monkeypatch.setattr(durable_host.engine, "begin_reserved", lambda _: None)
    run_id = await durable_host.accept(waits)
    Gate.open.set()
    await durable_host.reconcile(run_id)
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert [run_id] == BEGUN


async def test_a_run_that_begins_while_the_engine_looks_for_lost_ones_is_not_lost(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable_host.serve(waits)
    await started(durable_host)
    engine, claimed = durable_host.engine, object()

    async def read(query: Any) -> Any:
        found = await durable_host.journal.read(query)
        if getattr(query, "func", None) is owned:
            engine._claimed["meanwhile"] = claimed  # type: ignore[assignment]
        return found

    monkeypatch.setattr(engine, "_works", replace(engine._works, read=read))
    await engine.reconcile()
    assert engine._claimed.pop("meanwhile") is claimed


async def test_a_run_that_gets_its_place_when_the_store_has_ended_is_put_back(durable_host: Host) -> None:
    durable_host.serve(waits)
    await started(durable_host)
    usual = durable_host.engine.begin_reserved
    claimed: list[Any] = []
    durable_host.engine.begin_reserved = claimed.append  # type: ignore[method-assign, assignment]
    run_id = await durable_host.accept(waits)
    await durable_host.engine.store.stop()
    usual(claimed[0])
    row = await durable_host.phase(run_id, "ready")
    assert (row.owner, row.deaths, BEGUN) == (None, 0, [])
