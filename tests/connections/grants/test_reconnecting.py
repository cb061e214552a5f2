"""A grant that is disconnected, and perhaps connected again, while a server process has its former tokens in hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.tokens import Access, GrantTokens, Issued
from postern.journal import grant_upkeep as table_upkeep
from postern.journal import grants as table
from postern.journal.grants import State
from tests.connections.grants.renewal import LISA, NOW, World, unwell

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AGAIN = Issued(GrantTokens("again", "again"), 3600.0, account="other")


def connect_again(world: World, issued: Issued = AGAIN) -> None:
    """What another server process does: the grant is deleted, and connected with another account."""
    sealed, version = world.sealed(issued.tokens)
    row = world.database.row()
    world.database.run(partial(table.disconnect, name="tickets", owner=LISA))
    values: dict[str, Any] = {
        "account": issued.account,
        "sealed": sealed,
        "key_version": version,
        "connected_at": NOW + world.hand.at,
        "access_expires_at": NOW + world.hand.at + (issued.seconds or 0.0),
        "reason": "" if issued.tokens.refresh_token else "no-refresh-token",
        "wrote": "again",
        "history": (table.Event(NOW + world.hand.at, "connected"),),
    }
    same = {name: getattr(row, name) for name in ("connection", "owner", "account_name", "tenant", "scopes")}
    made = table.Grant(**same, instance_url="", generation=1, created_by=LISA, **values)
    assert world.database.run(partial(table.connect, grant=made))


def before_seal(world: World, act: Callable[[], object]) -> None:
    """Do it while the key is read to seal the next tokens: the vault may take seconds."""
    newest = world.keys.newest

    async def slow() -> tuple[str, bytes]:
        world.keys.newest = newest  # type: ignore[method-assign]
        act()
        return await newest()

    world.keys.newest = slow  # type: ignore[method-assign]


async def test_former_tokens_are_not_sent_for_a_grant_that_was_connected_again_before_it_was_taken(world: World):
    """Its row has the same generation. The former refresh token would end it, or put another account's tokens there."""
    await world.connected(account="1")
    world.expire()
    before_seal(world, partial(connect_again, world))
    assert (await world.grants.access("tickets", LISA)).token == "again"
    row = world.database.row()
    assert (world.issuer.asked, row.account, row.state, row.attempt) == ([], "other", State.CONNECTED, "")


async def test_a_grant_that_was_sealed_anew_meanwhile_is_renewed_all_the_same(world: World):
    await world.connected()
    world.expire()

    def reseal() -> None:
        row = world.database.row()
        sealed, version = world.sealed()
        former = table_upkeep.Sealed(row.connection, row.owner, row.sealed, row.key_version)
        assert world.database.run(partial(table_upkeep.reseal, former=former, sealed=sealed, key_version=version))

    before_seal(world, reseal)
    assert (await world.grants.access("tickets", LISA)).token == "access-2"
    assert world.issuer.asked == ["refresh-1"]


async def test_the_end_of_a_former_token_does_not_break_a_grant_that_was_connected_again(world: World):
    """Neither had a refresh token."""
    only = Issued(GrantTokens("only"), 3600.0)
    await world.grants.store("tickets", LISA, only, LISA, ("read",), "c")
    seen = world.database.row()
    connect_again(world, Issued(GrantTokens("again"), 3600.0))
    gives_up = partial(table.break_seen, seen=seen, reason="expired", now=NOW)
    assert not world.database.run(gives_up)
    assert world.database.row().state is State.CONNECTED


async def test_a_rejected_token_is_replaced_by_that_of_a_grant_that_was_connected_again(world: World):
    await world.connected()
    refused = await world.grants.access("tickets", LISA)
    connect_again(world)
    assert await world.grants.renewed("tickets", LISA, refused) == Access("again", 1)
    assert world.issuer.asked == []


async def test_the_tokens_that_the_row_had_last_are_ended_at_the_provider(world: World):
    """Another process renewed them after the grant was looked at."""
    await world.connected()
    looked = world.database.read

    async def read(operation: Any) -> Any:
        found = await looked(operation)
        row = world.database.row()
        world.hold()
        newer = table.Renewed(*world.sealed(GrantTokens("newer", "newer")), None, None, row.scopes)
        renew = partial(table.renew, name="tickets", owner=LISA, generation=1, attempt="theirs")
        assert world.database.run(partial(renew, renewed=newer, now=NOW))
        return found

    grants = world.process("node-9")
    grants._read = read
    assert await grants.disconnect("tickets", LISA) == ""
    assert (world.issuer.revoked, world.database.grant()) == (["newer"], None)


async def test_a_deletion_that_ran_again_after_a_lost_acknowledgement_still_ends_the_grant(world: World):
    await world.connected()
    world.database.twice = True
    assert await world.grants.disconnect("tickets", LISA) == ""
    assert (world.issuer.revoked, world.database.grant()) == (["refresh-1"], None)
    with pytest.raises(NoGrant):
        await world.grants.access("tickets", LISA)


@pytest.mark.parametrize("ahead", [-86_400.0, 86_400.0])
async def test_a_rejected_token_is_renewed_whatever_the_clock_was_when_it_was_issued(world: World, ahead: float):
    """The time of day was corrected since."""
    world.hand.at += ahead
    await world.connected()
    world.hand.at -= ahead
    refused = await world.grants.access("tickets", LISA) if ahead > 0 else Access("access-1", 1)
    found = await world.grants.renewed("tickets", LISA, refused)
    assert found is not None
    assert found.token == "access-2"


async def test_an_old_token_does_not_serve_after_a_refresh_in_which_its_grant_was_disconnected(world: World):
    """The refresh took long, and failed. By then the token would have been out of memory."""
    await world.connected()
    world.expire(left=59.0)

    def disconnected() -> None:
        world.hand.at += 6.0
        world.database.run(partial(table.disconnect, name="tickets", owner=LISA))
        raise unwell()

    world.issuer.says.append(disconnected)
    with pytest.raises(NoGrant):
        await world.grants.access("tickets", LISA)
