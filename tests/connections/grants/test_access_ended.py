"""Grants of a person whose access has ended are not used until the person connects again, or it is taken back."""

import asyncio

import pytest

from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.states import Shown, condition
from tests.connections.grants.renewal import LISA, NOW, World

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def end(world: World) -> None:
    world.ended[LISA] = NOW + world.hand.at + 1.0
    world.grants.revoked()


async def refusal(world: World) -> NoGrant:
    with pytest.raises(NoGrant) as caught:
        await world.grants.access("tickets", LISA)
    return caught.value


async def test_a_token_in_memory_is_not_handed_out(world: World):
    await world.connected()
    await world.grants.access("tickets", LISA)
    end(world)
    found = await refusal(world)
    assert found.reason == "access-ended"
    assert "an operator ended the access of its owner" in str(found)


async def test_the_row_stays_as_it_is_and_counts_again_once_it_is_taken_back(world: World):
    before = await world.connected()
    end(world)
    await refusal(world)
    assert world.database.row() == before
    world.ended.clear()
    assert (await world.grants.access("tickets", LISA)).token == "access-1"


async def test_what_the_person_connects_afterwards_is_used(world: World):
    await world.connected()
    end(world)
    world.hand.at += 5.0
    await world.connected()
    assert (await world.grants.access("tickets", LISA)).token


async def test_it_is_not_renewed_either(world: World):
    grant = await world.connected()
    end(world)
    with pytest.raises(NoGrant):
        await world.grants.refresh("tickets", LISA, grant.generation)
    assert world.issuer.asked == []


async def test_a_row_that_is_being_read_when_access_ends_is_neither_used_nor_remembered(world: World):
    await world.connected()
    world.grants.revoked()  # nothing is in memory
    reading = asyncio.create_task(world.grants.access("tickets", LISA))
    await asyncio.sleep(0)
    end(world)
    with pytest.raises(NoGrant):
        await reading
    assert (await refusal(world)).reason == "access-ended"


async def test_grants_of_others_are_used(world: World):
    await world.connected(owner="t/gil")
    end(world)
    assert (await world.grants.access("tickets", "t/gil")).token


async def test_people_see_why(world: World):
    grant = await world.connected()
    shown = condition(grant, NOW, refused=True)
    assert (shown.state, shown.reason, shown.usable) == (Shown.BROKEN, "access-ended", False)
