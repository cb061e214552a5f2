"""Grants are renewed before a call waits for it, and often enough that none ends because it is not used."""

import asyncio
from functools import partial

import pytest
from structlog.testing import capture_logs

from postern.connections.grants.background import LOOK_EVERY, MOST_AT_ONCE, PAGE, Background
from postern.connections.grants.moves import DAY
from postern.connections.grants.uses import FLUSHED_EVERY, NOTED_EVERY, Uses
from postern.journal import grants
from tests.connections.grants.renewal import LISA, NOW, World, unwell

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def background(world: World, process: object = None) -> Background:
    refresh = (process or world.grants).refresh  # type: ignore[attr-defined]
    return Background(world.database.read, lambda: ["tickets"], refresh, world.hand.clocks)


def used(world: World) -> None:
    at = NOW + world.hand.at
    world.database.run(partial(grants.note_use, name="tickets", owner=LISA, now=at))


async def test_a_grant_in_use_is_renewed_at_four_fifths_of_its_life(world: World):
    await world.connected()
    used(world)
    looking = background(world)
    world.hand.at += 3600.0 * 0.8 - 5.0
    await looking.look()
    assert world.issuer.asked == []
    world.hand.at += 10.0
    await looking.look()
    assert (world.issuer.asked, world.database.row().generation) == (["refresh-1"], 2)
    assert (await world.grants.access("tickets", LISA)).token == "access-2"


async def test_another_grant_is_renewed_once_a_day(world: World):
    await world.connected()
    looking = background(world)
    for _ in range(84):
        world.hand.at += DAY / 24
        await looking.look()
    assert world.issuer.asked == ["refresh-1", "refresh-2", "refresh-3"]


async def test_server_processes_that_look_at_once_renew_it_once(world: World):
    await world.connected()
    world.hand.at += DAY
    processes = [world.process(f"node-{number}") for number in range(2, 6)]
    await asyncio.gather(*(background(world, each).look() for each in processes))
    assert world.issuer.asked == ["refresh-1"]


async def test_few_are_renewed_at_a_time(world: World):
    for number in range(3 * MOST_AT_ONCE):
        await world.connected(owner=f"tenant/{number:03}")
    world.hand.at += DAY
    at_once = most = 0
    done = []

    async def refresh(name: str, owner: str, generation: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        done.append((name, owner, generation))

    await Background(world.database.read, lambda: ["tickets"], refresh, world.hand.clocks).look()
    assert sorted(done) == [("tickets", f"tenant/{number:03}", 1) for number in range(3 * MOST_AT_ONCE)]
    assert most <= MOST_AT_ONCE


async def test_every_page_of_grants_is_looked_at_the_shared_one_too(world: World):
    owners = ["", *(f"tenant/{number:03}" for number in range(PAGE + 1))]
    for owner in owners:
        await world.connected(owner=owner)
    world.hand.at += DAY
    found = []

    async def refresh(name: str, owner: str, generation: int) -> None:
        found.append(owner)

    await Background(world.database.read, lambda: ["tickets"], refresh, world.hand.clocks).look()
    assert sorted(found) == owners


async def test_a_failure_is_tried_again_with_the_next_look(world: World):
    await world.connected()
    world.hand.at += DAY
    world.issuer.says.extend([unwell()] * 5)
    looking = background(world)
    await looking.look()
    assert world.database.row().generation == 1
    world.hand.at += 3600.0
    await looking.look()
    await looking.look()
    assert world.database.row().generation == 2


async def test_an_unexpected_error_of_one_grant_stops_no_other(world: World):
    """One provider's odd response would end the renewal of everybody's grants."""
    owners = [f"tenant/{number}" for number in range(3)]
    for owner in owners:
        await world.connected(owner=owner)
    world.hand.at += DAY
    renewed = []

    async def refresh(name: str, owner: str, generation: int) -> None:
        if owner == owners[0]:
            raise ValueError("marker")
        await asyncio.sleep(0)
        renewed.append(owner)

    with capture_logs() as logs:
        await Background(world.database.read, lambda: ["tickets"], refresh, world.hand.clocks).look()
    assert sorted(renewed) == owners[1:]
    assert [(each["event"], each["cause"]) for each in logs] == [("grant-not-renewed", "ValueError")]
    assert "marker" not in str(logs)


async def test_a_broken_grant_and_one_without_refresh_token_are_left_alone(world: World):
    row = await world.connected()
    broken = partial(grants.break_, name="tickets", owner=LISA, generation=row.generation, attempt="", reason="ended")
    world.database.run(partial(broken, claims="", now=NOW))
    world.hand.at += DAY
    await background(world).look()
    assert world.issuer.asked == []


async def test_it_goes_on_after_an_error(world: World):
    await world.connected()
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        world.database.away = len(waits) == 1
        world.hand.at += DAY
        if len(waits) == 4:
            raise asyncio.CancelledError

    clocks = world.hand.clocks
    looking = Background(
        world.database.read,
        lambda: ["tickets"],
        world.grants.refresh,
        type(clocks)(clocks.monotonic, clocks.now, sleep, clocks.uniform),
    )
    with pytest.raises(asyncio.CancelledError):
        await looking.run()
    assert waits[:2] == [LOOK_EVERY, LOOK_EVERY]


async def test_uses_are_written_in_few_writes(world: World):
    await world.connected()
    await world.connected(owner="tenant/ada")
    before = world.database.writes
    uses = Uses(world.database.write, lambda: NOW + world.hand.at)
    for _ in range(100):
        for owner in (LISA, "tenant/ada"):
            uses.note(("tickets", owner))
        await uses.flush()
        world.hand.at += NOTED_EVERY / 100 - 0.001
    assert world.database.writes - before == 2
    world.hand.at += 1.0
    uses.note(("tickets", LISA))
    world.database.away = True
    await uses.flush()
    world.database.away = False
    uses.note(("tickets", LISA))
    await uses.flush()
    assert world.database.row().used_at == NOW + world.hand.at
    assert FLUSHED_EVERY < NOTED_EVERY


async def test_the_store_renews_and_notes_uses_until_it_is_cancelled(world: World):
    await world.connected()
    await world.grants.access("tickets", LISA)
    running = asyncio.create_task(world.grants.run())
    while world.database.row().generation < 2:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), world.database.row().used_at is not None) == (True, True)
