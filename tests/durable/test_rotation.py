"""A new version of the key seals from then on, and runs of former ones go on as long as those are there."""

import os
from typing import Any

import pytest

from postern import anonymous, workflow
from postern.durable import engine
from postern.durable.seals import KeySeals
from tests.connections.sealing.ring import Ring
from tests.durable.host import Host
from tests.durable.test_seals import KEY

pytestmark = pytest.mark.anyio

DONE: list[str] = []


async def one() -> str:
    DONE.append("one")
    return "1"


@workflow(access=anonymous(), durable=True)
async def waits(ctx) -> Any:
    first = await ctx.step(one)
    return [first, (await ctx.wait_for("go")).body]


@pytest.mark.parametrize("durable_host", [{"held": 0.05}], indirect=True)
async def test_a_run_goes_on_over_a_rotation_and_is_parked_while_its_version_is_gone(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "KEY_AGAIN", 0.05)
    DONE.clear()
    ring = Ring(v1=KEY)
    await durable_host.restart_with(KeySeals(ring))
    durable_host.serve(waits)
    before, lost = [await durable_host.accept(waits) for _ in range(2)]
    for run_id in (before, lost):
        await durable_host.phase(run_id, "waiting")
    ring.keys["v2"] = os.urandom(32)
    after = await durable_host.accept(waits)
    await durable_host.send(before, '"a"')
    await durable_host.send(after, '"b"')
    for run_id, expected in ((before, '["1","a"]'), (after, '["1","b"]')):
        assert (await durable_host.outcome(run_id)).outputs == expected
        assert (await durable_host.durable(run_id)).reply_key_version == "v2"

    async def left() -> bool:
        """A run that is still in memory needs no key of its past."""
        return lost not in durable_host.engine.executions

    await durable_host.until(left)
    gone = ring.keys.pop("v1")
    await durable_host.send(lost, '"c"')
    assert (await durable_host.phase(lost, "parked")).reason == "key-unavailable"
    assert (await durable_host.row(lost)).state == "Waiting"
    ring.keys = {"v1": gone, **ring.keys}
    await durable_host.engine.reconcile()
    assert (await durable_host.outcome(lost)).outputs == '["1","c"]'
    assert DONE == ["one"] * 3
