"""A claims challenge of an API is answered by one refresh with its claims, whoever else renews the grant meanwhile; or
the person has to sign in again with them."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from structlog.testing import capture_logs

from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.server_grants import ServerGrants
from postern.connections.grants.tokens import Access, GrantTokens, Issued
from postern.journal import grants as table
from postern.journal.grants import State
from tests.connections.grants.renewal import LISA, NOW, World, ended, unwell

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
C2 = '{"access_token":{"acrs":{"essential":true,"value":"c2"}}}'


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """On SQLite and on PostgreSQL."""
    made = World(database_url)
    yield made
    made.database.engine.dispose()


async def challenged(world: World, refused: Access, claims: str = C1, by: ServerGrants | None = None) -> str:
    """The token with which a call is repeated, "" if there is none."""
    found = await (by or world.grants).renewed("tickets", LISA, refused, claims)
    return found.token if found else ""


async def in_use(world: World) -> Access:
    return await world.grants.access("tickets", LISA)


def exchanges(world: World) -> list[tuple[str, str]]:
    return list(zip(world.issuer.asked, world.issuer.claims, strict=True))


def must_act(code: str = "interaction_required", claims: str = "") -> RefusedByProvider:
    return RefusedByProvider("needs a person", "Its owner connects it again", code, "mfa-required", claims)


async def test_a_challenge_is_answered_by_a_token_with_its_claims_past_the_one_in_memory(world: World):
    """Also if that was issued just now: it was issued without them."""
    await world.connected()
    assert await challenged(world, await in_use(world)) == "access-2"
    assert (await in_use(world)).token == "access-2"
    assert exchanges(world) == [("refresh-1", C1)]
    row = world.database.row()
    assert (row.state, row.generation, row.claims, row.attempt) == (State.CONNECTED, 2, C1, "")


async def test_callers_with_the_same_challenge_make_one_refresh_over_all_processes(world: World):
    await world.connected()
    refused = await in_use(world)
    processes = [world.grants, *(world.process(f"node-{number}") for number in (2, 3, 4))]
    found = await asyncio.gather(*(challenged(world, refused, by=each) for each in processes for _ in range(5)))
    assert (set(found), exchanges(world)) == ({"access-2"}, [("refresh-1", C1)])


async def test_an_answer_of_another_process_is_used(world: World):
    await world.connected()
    refused = await in_use(world)
    assert await challenged(world, refused, by=world.process("node-2")) == "access-2"
    assert await challenged(world, refused) == "access-2"
    assert exchanges(world) == [("refresh-1", C1)]


async def test_a_token_that_another_process_got_without_the_claims_is_no_answer(world: World):
    await world.connected()
    refused = await in_use(world)
    await world.process("node-2").refresh("tickets", LISA, 1)
    assert await challenged(world, refused) == "access-3"
    assert exchanges(world) == [("refresh-1", ""), ("refresh-2", C1)]


async def test_a_token_that_another_process_got_for_other_claims_is_no_answer(world: World):
    await world.connected()
    refused = await in_use(world)
    assert await challenged(world, refused, C2, by=world.process("node-2")) == "access-2"
    assert await challenged(world, refused) == "access-3"
    assert exchanges(world) == [("refresh-1", C2), ("refresh-2", C1)]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in this process", "in another process"])
async def test_a_refresh_without_the_claims_that_is_in_progress_is_waited_for_and_is_no_answer(
    world: World, elsewhere: bool
):
    """The provider never gets two requests for a grant at once."""
    await world.connected()
    refused = await in_use(world)
    renewing = world.process("node-2") if elsewhere else world.grants
    world.issuer.gate.clear()
    plain = asyncio.create_task(renewing.refresh("tickets", LISA, 1))
    await world.issuer.arrived.wait()
    answers = [asyncio.create_task(challenged(world, refused)) for _ in range(3)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert exchanges(world) == [("refresh-1", "")]
    world.issuer.gate.set()
    assert [await answer for answer in answers] == ["access-3"] * 3
    await plain
    assert exchanges(world) == [("refresh-1", ""), ("refresh-2", C1)]


async def test_callers_without_a_challenge_wait_for_the_answer_to_one_and_use_it(world: World):
    await world.connected()
    refused = await in_use(world)
    world.hand.at += 100.0
    world.issuer.gate.clear()
    answer = asyncio.create_task(challenged(world, refused))
    await world.issuer.arrived.wait()
    plain = asyncio.create_task(world.grants.renewed("tickets", LISA, refused))
    for _ in range(50):
        await asyncio.sleep(0)
    world.issuer.gate.set()
    found = await plain
    assert found is not None
    assert (await answer, found.token, exchanges(world)) == ("access-2", "access-2", [("refresh-1", C1)])


async def test_two_challenges_at_once_are_both_answered_one_after_the_other(world: World):
    await world.connected()
    refused = await in_use(world)
    found = await asyncio.gather(challenged(world, refused, C1), challenged(world, refused, C2))
    assert sorted(found) == ["access-2", "access-3"]
    assert [token for token, _ in exchanges(world)] == ["refresh-1", "refresh-2"]
    assert {claims for _, claims in exchanges(world)} == {C1, C2}


async def test_an_api_that_no_token_satisfies_leads_to_one_refresh_in_thirty_seconds(world: World):
    await world.connected()
    await challenged(world, await in_use(world))
    assert [await challenged(world, await in_use(world)) for _ in range(9)] == [""] * 9
    assert len(exchanges(world)) == 1
    world.hand.at += 30.0
    assert await challenged(world, await in_use(world)) == "access-3"


async def test_an_api_that_asks_for_other_claims_each_time_leads_to_three_refreshes_in_thirty_seconds(world: World):
    await world.connected()
    asked = [f'{{"access_token":{{"nbf":{{"value":"{number}"}}}}}}' for number in range(9)]
    found = [await challenged(world, await in_use(world), claims) for claims in asked]
    assert found == ["access-2", "access-3", "access-4", *[""] * 6]
    assert [claims for _, claims in exchanges(world)] == asked[:3]
    world.hand.at += 30.0
    assert await challenged(world, await in_use(world), C1) == "access-5"


async def test_a_provider_that_issues_the_same_token_again_has_not_answered(world: World):
    await world.connected()
    world.issuer.says.append(Issued(GrantTokens("access-1", "refresh-2"), 3600.0))
    assert (await challenged(world, await in_use(world)), len(exchanges(world))) == ("", 1)


async def test_the_next_refresh_is_without_the_claims_and_its_token_counts_as_such(world: World):
    """Claims such as `nbf` are of one moment."""
    await world.connected()
    await challenged(world, await in_use(world))
    world.expire()
    refused = await in_use(world)
    assert (refused.token, world.database.row().claims) == ("access-3", "")
    assert await challenged(world, refused) == "access-4"
    assert [claims for _, claims in exchanges(world)] == [C1, "", C1]


async def test_a_grant_that_was_connected_again_meanwhile_is_asked_for_the_claims(world: World):
    await world.connected()
    refused = await in_use(world)
    await challenged(world, refused)
    world.issuer.number = 7
    world.hand.at += 1.0
    await world.connected()
    assert world.database.row().claims == ""
    assert await challenged(world, refused) == "access-8"


# The person has to act


@pytest.mark.parametrize(
    ("refusal", "kept"),
    [
        (must_act(), C1),
        (must_act(claims=C2), C2),
        (must_act("invalid_grant"), C1),
        (must_act("invalid_grant", C2), C2),
        (ended("revoked"), C1),
    ],
)
async def test_what_a_person_has_to_meet_breaks_the_grant_with_the_claims_for_the_next_sign_in(
    world: World, refusal: RefusedByProvider, kept: str
):
    """Those that the provider names come before those of the API. Nobody asks again."""
    await world.connected()
    refused = await in_use(world)
    world.issuer.says.append(refusal)
    for by in (world.grants, world.grants, world.process("node-2")):
        with pytest.raises(NoGrant) as fault:
            await challenged(world, refused, by=by)
        assert fault.value.reason == refusal.reason
    row = world.database.row()
    assert (row.state, row.reason, row.claims, row.attempt) == (State.BROKEN, refusal.reason, kept, "")
    assert len(exchanges(world)) == 1
    world.hand.at += 1.0
    again = await world.connected()
    assert (again.state, again.claims, (await in_use(world)).token) == (State.CONNECTED, "", "access-1")


async def test_a_refresh_without_claims_that_is_refused_keeps_none_of_an_earlier_challenge(world: World):
    await world.connected()
    await challenged(world, await in_use(world))
    world.expire()
    world.issuer.says.append(ended())
    with pytest.raises(NoGrant):
        await in_use(world)
    assert world.database.row().claims == ""


@pytest.mark.parametrize("refusal", [unwell(), RefusedByProvider("x", "y", "invalid_request", "provider-rejects")])
async def test_any_other_refusal_keeps_the_grant_and_rests_before_the_next_attempt(
    world: World, refusal: RefusedByProvider
):
    await world.connected()
    refused = await in_use(world)
    world.issuer.says.append(refusal)
    for _ in range(2):
        with pytest.raises(ConnectionFault) as fault:
            await challenged(world, refused)
        assert not isinstance(fault.value, NoGrant)
    row = world.database.row()
    assert (row.state, row.generation, row.claims, row.attempt) == (State.CONNECTED, 1, "", "")
    assert ((await in_use(world)).token, len(exchanges(world))) == ("access-1", 1)
    world.hand.at += 60.0
    assert await challenged(world, refused) == "access-2"


async def test_without_a_refresh_token_there_is_no_answer(world: World):
    only = Issued(GrantTokens("only"), 3600.0)
    await world.grants.store("tickets", LISA, only, LISA, ("read",), "c")
    assert (await challenged(world, await in_use(world)), exchanges(world)) == ("", [])


# What is written


async def test_a_lost_acknowledgement_loses_neither_the_answer_nor_its_claims(world: World):
    await world.connected()
    refused = await in_use(world)
    world.database.twice = True
    assert await challenged(world, refused) == "access-2"
    world.database.twice = False
    world.issuer.says.append(lambda: setattr(world.database, "unheard", 1))
    assert await challenged(world, await in_use(world), C2) == "access-3"
    assert (world.database.row().generation, world.database.row().claims) == (3, C2)
    assert exchanges(world) == [("refresh-1", C1), ("refresh-2", C2)]


async def test_an_attempt_that_was_overtaken_writes_no_claims(world: World):
    """Another process has written a token without them when the provider answers."""
    await world.connected()
    refused = await in_use(world)

    def overtaken() -> None:
        row = world.database.row()
        world.database.run(partial(table.release, name="tickets", owner=LISA, generation=1, attempt=row.attempt))
        world.hold()
        world.issuer.number = 7
        renewed = table.Renewed(*world.sealed(), NOW + world.hand.at + 3600.0, None, row.scopes)
        writing = partial(table.renew, name="tickets", owner=LISA, generation=1, attempt="theirs")
        assert world.database.run(partial(writing, renewed=renewed, now=NOW + world.hand.at))

    world.issuer.says.append(overtaken)
    assert await challenged(world, refused) == "access-8"
    assert exchanges(world) == [("refresh-1", C1), ("refresh-7", C1)]


async def test_the_claims_are_in_no_log_no_error_and_no_repr(world: World):
    await world.connected()
    refused = await in_use(world)
    with capture_logs() as logs:
        await challenged(world, refused)
        world.issuer.says.append(must_act())
        with pytest.raises(NoGrant) as fault:
            await challenged(world, refused, C2)
    assert [line["event"] for line in logs] == ["grant-renewed", "grant-broken"]
    renewed = table.Renewed("sealed", "v1", None, None, (), claims=C1)
    shown = repr((logs, vars(fault.value), world.database.row(), renewed, vars(world.grants)))
    assert "acrs" not in shown
