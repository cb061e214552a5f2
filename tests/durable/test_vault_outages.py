"""A short outage of Key Vault at any moment of a durable run loses nothing: no run fails or is parked, no step is
called again, and the run goes on by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from postern import anonymous, specific_users, workflow
from postern.connections.faults import ConnectionFault
from postern.durable import dbos_engine, engine, replies
from postern.durable.executions import Executions
from postern.durable.seals import KeySeals
from postern.errors import Problem
from tests.connections.sealing.ring import Ring
from tests.durable.host import Host
from tests.durable.test_approvals import asked
from tests.durable.test_forgery import decide
from tests.durable.test_seals import KEY

pytestmark = pytest.mark.anyio

DONE: list[str] = []


async def one() -> str:
    DONE.append("one")
    return "1"


async def two() -> str:
    DONE.append("two")
    return "2"


@workflow(access=anonymous(), durable=True)
async def works(ctx) -> Any:
    first = await ctx.step(one)
    found = await ctx.wait_for("go")
    decision = await ctx.approval("manager", who=specific_users("lisa"), data={"amount": 7})
    return [first, found.body, decision.state, await ctx.step(two)]


class Vault(Ring):
    """A vault that is unavailable at some of its uses, which are counted."""

    def __init__(self) -> None:
        super().__init__(v1=KEY)
        self.fails = range(0)
        self.used = self.failed = 0

    async def newest(self) -> tuple[str, bytes]:
        """The key, if the vault is there."""
        self._use()
        return await super().newest()

    async def of(self, version: str) -> bytes:
        """The same."""
        self._use()
        return await super().of(version)

    def _use(self) -> None:
        self.used += 1
        if self.used - 1 in self.fails:
            self.failed += 1
            raise ConnectionFault("POSTERN_DURABLE_KEY_NAME", "cannot be read", "Try again later")


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again each second is tried again at once."""
    monkeypatch.setattr(engine, "EVERY", 0.02)
    monkeypatch.setattr(replies, "AGAIN", 0.001)
    monkeypatch.setattr(dbos_engine, "WAITS", (0.001,))


async def until_accepted(sending: Any) -> Any:
    """What this returns once its sender does not get 503."""
    while True:
        try:
            return await sending()
        except Problem as shown:
            assert (shown.code, shown.status, shown.headers) == ("durable-key-unavailable", 503, {"Retry-After": "5"})


@asynccontextmanager
async def reconciled(host: Host, run_id: str) -> AsyncIterator[None]:
    """The look of each 10 seconds for what nothing here runs is made as soon as that is so."""

    async def look() -> None:
        while True:
            if run_id not in host.engine._arrived and run_id not in host.engine._claimed:
                await host.engine.reconcile()
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def a_run(host: Host, vault: Vault) -> int:
    """A run from its request to its outcome, which leaves the memory at each wait. Returns its uses of the vault."""
    DONE.clear()
    before = vault.used
    run_id = await until_accepted(lambda: host.accept(works))
    async with reconciled(host, run_id):
        await host.phase(run_id, "waiting")
        await until_accepted(lambda: host.send(run_id, '"sent"'))
        approval = await asked(host, run_id)
        await until_accepted(lambda: decide(host, approval))
        row = await host.outcome(run_id)
    assert (row.state, row.outputs, row.error_type) == ("Succeeded", '["1","sent","approved","2"]', None)
    assert DONE == ["one", "two"]
    used, vault.fails = vault.used - before, range(0)
    assert await replies.kept_reply(host.journal.read, host.seals, run_id) is not None
    return used


@pytest.mark.parametrize("durable_host", [{"held": 0.02}], indirect=True)
async def test_whenever_the_vault_is_unavailable_the_run_goes_on_by_itself(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked: list[Any] = []
    usual_park = Executions._park

    async def noted(*of: Any) -> None:
        parked.append(of)
        await usual_park(*of)

    monkeypatch.setattr(Executions, "_park", noted)
    vault = Vault()
    await durable_host.restart_with(KeySeals(vault))
    durable_host.serve(works)
    usual = await a_run(durable_host, vault)
    assert usual > 8
    for moment in range(0, usual, 2):
        vault.fails = range(vault.used + moment, vault.used + moment + 2)
        await a_run(durable_host, vault)
    assert vault.failed > usual // 2  # how often a run is read again differs a little
    assert parked == []


async def test_an_outcome_that_cannot_be_sealed_for_long_is_parked_and_ends_when_the_vault_is_back(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "MOST_TRIES", 3)
    monkeypatch.setattr(engine, "KEY_AGAIN", 0.05)
    DONE.clear()
    vault = Vault()
    await durable_host.restart_with(KeySeals(vault))
    durable_host.serve(ends)
    run_id = await durable_host.accept(ends)
    vault.fails = range(vault.used + 2, vault.used + 9)  # after the request was opened and the step was sealed
    row = await durable_host.phase(run_id, "parked")
    assert row.reason == "key-unavailable"
    async with reconciled(durable_host, run_id):
        assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert DONE == ["one"]


@workflow(access=anonymous(), durable=True)
async def ends(ctx) -> Any:
    return await ctx.step(one)
