"""Servers go on while the key is changed and all grants are sealed anew, and a restored grant says what to do."""

import asyncio
from dataclasses import dataclass
from functools import partial

import pytest

from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.reasons import REASONS
from postern.connections.grants.resealing import reseal_all
from postern.journal.grant_upkeep import close_restored
from postern.journal.grants import State
from tests.connections.grants.renewal import LISA, NOW, Keys, World

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OWNERS = [f"tenant/{number}" for number in range(4)]


@dataclass
class SlowKeys(Keys):
    """Others have their turn at each look at a key."""

    async def newest(self) -> tuple[str, bytes]:
        await asyncio.sleep(0)
        return await super().newest()

    async def of(self, version: str) -> bytes:
        await asyncio.sleep(0)
        return await super().of(version)


async def test_the_key_is_changed_under_load_and_no_call_fails(world: World):
    """Two server processes renew each grant again and again while former versions are sealed anew, and then deleted."""
    world.keys = SlowKeys()
    processes = [world.process(f"node-{number}") for number in (2, 3)]
    world.issuer.seconds = None
    for owner in OWNERS:
        await world.connected(owner=owner)
    calls = 0
    for version in range(2, 12):
        world.keys.versions[f"v{version}"] = bytes([version]) * 32
        resealing = asyncio.create_task(reseal_all(world.keys, world.database.run))
        while not resealing.done():
            world.hand.at += 5.0
            used = [each.access("tickets", owner) for each in processes for owner in OWNERS for _ in range(3)]
            assert {each.token for each in await asyncio.gather(*used)} == {"access-1"}
            calls += len(used)
        assert (await resealing).left == 0
        for former in list(world.keys.versions)[:-1]:
            del world.keys.versions[former]
    assert {world.database.row(owner=owner).key_version for owner in OWNERS} == {"v11"}
    assert calls > 200


async def test_a_refresh_that_was_sealed_with_the_former_version_is_sealed_anew_too(world: World):
    await world.connected()
    world.expire()
    world.issuer.gate.clear()
    refreshing = asyncio.create_task(world.grants.access("tickets", LISA))
    await world.issuer.arrived.wait()
    world.keys.versions["v2"] = b"2" * 32
    assert (await reseal_all(world.keys, world.database.run)).done == 1
    world.issuer.gate.set()
    assert (await refreshing).token == "access-2"
    assert (await reseal_all(world.keys, world.database.run)).left == 0
    row = world.database.row()
    assert (row.key_version, row.generation) == ("v2", 2)


async def test_a_grant_whose_key_comes_back_works_again(world: World):
    await world.connected()
    key = world.keys.versions.pop("v1")
    world.keys.versions["v2"] = b"2" * 32
    world.hand.at += 5.0
    other = world.process("node-2")
    with pytest.raises(NoGrant) as fault:
        await other.access("tickets", LISA)
    assert (fault.value.reason, world.database.row().state) == ("cannot-open", State.BROKEN)
    assert (await reseal_all(world.keys, world.database.run)).unopened == (("tickets", LISA),)
    world.keys.versions = {"v1": key, **world.keys.versions}
    assert (await reseal_all(world.keys, world.database.run)).left == 0
    world.hand.at += 5.0
    assert (await other.access("tickets", LISA)).token == "access-1"
    row = world.database.row()
    assert (row.state, row.reason, row.generation) == (State.CONNECTED, "", 1)


@pytest.mark.parametrize("remark", ["", "fewer-scopes"])
async def test_a_grant_that_opens_again_has_the_remark_of_its_consent(world: World, remark: str):
    """Also if its token has ended meanwhile: it is renewed as soon as it opens."""
    await world.connected(scopes=("repo",) if remark else None)
    assert world.database.row().reason == remark
    world.expire()
    key = world.keys.versions.pop("v1")
    world.keys.versions["v2"] = b"2" * 32
    other = world.process("node-2")
    for _ in range(2):
        with pytest.raises(NoGrant) as fault:
            await other.access("tickets", LISA)
        assert (fault.value.reason, world.database.row().reason) == ("cannot-open", "cannot-open")
    assert [event.what for event in world.database.row().history] == ["connected", "broken"]
    world.keys.versions = {"v1": key, **world.keys.versions}
    assert (await other.access("tickets", LISA)).token == "access-2"
    row = world.database.row()
    assert (row.state, row.reason, row.generation) == (State.CONNECTED, remark, 2)


async def test_a_restored_grant_is_not_used_and_its_error_says_why(world: World):
    """Its refresh token may have been replaced since the backup: nothing is sent."""
    await world.connected()
    assert world.database.run(partial(close_restored, now=NOW)) == 1
    world.hand.at += 5.0
    other = world.process("node-2")
    with pytest.raises(NoGrant) as fault:
        await other.access("tickets", LISA)
    assert (fault.value.reason, fault.value.wrong) == ("restored", REASONS["restored"].text)
    assert world.issuer.asked == []
    assert await other.disconnect("tickets", LISA) != ""
    assert world.database.grant() is None
