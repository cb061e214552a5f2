"""A token that was remembered is refused once its caller, its client or it itself is revoked."""

import asyncio
from typing import Any

import pytest

from postern.access import Caller, Refused
from postern.errors import Problem
from postern.identity import Identity
from postern.journal.revocations import Kind, Rule
from postern.security.revocation.revocations import PATIENCE, Revocations
from tests.identity.minting import (
    CLIENT,
    LISA,
    NOW,
    OTHER_ID,
    TENANT,
    TENANT_ID,
    Authority,
    Clock,
    bearer,
    claims,
    jwk,
    token,
)

pytestmark = pytest.mark.anyio
UTI = "a-token-id"
OLD = claims(iat=NOW - 300, uti=UTI)


class World:
    """An Identity with revocations that nothing reads: the test applies them."""

    def __init__(self) -> None:
        self.authority = Authority(jwk())
        self.now, self.clock = Clock(NOW), Clock()
        self.revocations = Revocations(now=self.now, clock=self.clock)
        self.identity = Identity(
            lambda _: self.authority.fetch, now=self.now, clock=self.clock, revocations=self.revocations
        )
        self.identity.serve([TENANT])
        self.revocations.on_revoked(self.identity.forget)
        self.revocations.apply([], self.clock())

    def revoke(self, kind: Kind = Kind.CALLER, subject: str = LISA, until: float = 0.0) -> None:
        tenant = TENANT_ID if kind is Kind.CALLER else ""
        self.revocations.tighten(Rule(kind, tenant, subject, self.now(), until))

    async def ask(self, **changes: Any) -> Caller:
        return await self.identity.identify(bearer(token(claims(**{"iat": NOW - 300, "uti": UTI, **changes}))))

    async def refusal(self, **changes: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.ask(**changes)
        return caught.value

    def recalls(self) -> bool:
        return self.identity.recall(b"Bearer " + token(OLD).encode()) is not None


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize(("kind", "subject"), [(Kind.CALLER, LISA), (Kind.CLIENT, CLIENT), (Kind.TOKEN, UTI)])
async def test_a_remembered_token_is_refused_at_once(world: World, kind: Kind, subject: str):
    await world.ask()
    assert world.recalls()
    world.revoke(kind, subject)
    assert not world.recalls()
    refused = await world.refusal()
    assert refused.failed.name == "revoked"
    assert refused.proved
    assert not world.recalls()


@pytest.mark.parametrize(
    ("kind", "subject"), [(Kind.CALLER, OTHER_ID), (Kind.CLIENT, OTHER_ID), (Kind.TOKEN, "another-id")]
)
async def test_tokens_of_others_stay_remembered(world: World, kind: Kind, subject: str):
    await world.ask()
    world.revoke(kind, subject)
    assert world.recalls()


async def test_a_process_that_was_stopped_recalls_no_token_before_it_has_read_again(world: World):
    """Requests that arrived meanwhile may be looked at before anything else."""
    await world.ask()
    world.now.at += PATIENCE
    world.clock.at += PATIENCE
    assert not world.recalls()
    with pytest.raises(Problem) as caught:
        await world.ask()
    assert caught.value.code == "revocations-unavailable"
    world.revocations.apply([], world.clock())
    await world.ask()
    assert world.recalls()


async def test_a_token_that_was_issued_since_is_accepted_after_five_minutes(world: World):
    """Entra dates a token five minutes back: one that is requested at once is refused for so long."""
    world.revoke()
    refused = await world.refusal(iat=NOW + 100 - 300)
    assert refused.retry_after == 300
    world.now.at = NOW + 300
    assert (await world.ask(iat=NOW)).object_id == LISA


async def test_a_token_without_a_time_of_issue_is_refused_while_its_caller_is_revoked(world: World):
    assert (await world.ask(iat=...)).object_id == LISA
    world.revoke()
    assert (await world.refusal(iat=...)).failed.name == "revoked"


async def test_new_tokens_are_barred_too_until_the_bar_ends(world: World):
    world.revoke(until=NOW + 3600)
    world.now.at = NOW + 1800
    refused = await world.refusal(iat=NOW + 1500, exp=NOW + 9000)
    assert refused.retry_after == 1800
    world.now.at = NOW + 3600
    assert (await world.ask(iat=NOW + 3300, exp=NOW + 9000)).object_id == LISA


async def test_a_client_that_handles_challenges_is_asked_for_a_newer_token(world: World):
    world.revoke()
    refused = await world.refusal(xms_cc=["cp1"])
    assert refused.claims == f'{{"access_token":{{"nbf":{{"essential":true,"value":"{int(NOW)}"}}}}}}'


async def test_a_token_whose_keys_are_being_fetched_while_the_revocation_arrives_does_not_slip_through(world: World):
    """What is verified is not remembered before the revocations are looked at, with nothing awaited in between."""
    world.authority.open.clear()
    asking = asyncio.create_task(world.refusal())
    while not world.authority.fetches:
        await asyncio.sleep(0)
    world.revoke()
    world.authority.open.set()
    assert (await asking).failed.name == "revoked"
    assert not world.recalls()


async def test_a_process_that_does_not_know_the_revocations_remembers_no_token(world: World):
    await world.ask()
    world.clock.at += PATIENCE
    world.revocations.close_if_old()
    assert not world.recalls()
    with pytest.raises(Problem) as caught:
        await world.ask()
    assert caught.value.code == "revocations-unavailable"
    world.revocations.apply([], world.clock())
    assert (await world.ask()).object_id == LISA


async def test_a_token_whose_keys_are_being_fetched_while_the_process_closes_does_not_slip_through(world: World):
    world.authority.open.clear()
    asking = asyncio.create_task(world.ask())
    while not world.authority.fetches:
        await asyncio.sleep(0)
    world.clock.at += PATIENCE
    world.revocations.close_if_old()
    world.authority.open.set()
    with pytest.raises(Problem):
        await asking
    assert not world.recalls()


async def test_what_is_no_valid_token_is_refused_for_what_it_is(world: World):
    world.revoke()
    assert (await world.refusal(exp=NOW - 3600)).failed.name == "expiry"


async def test_an_explanation_shows_the_check(world: World):
    text = token(OLD)
    found, caller = await world.identity.examine(text)
    assert [(check.name, check.passed) for check in found][-1] == ("revoked", True)
    world.revoke()
    found, caller = await world.identity.examine(text)
    assert [(check.name, check.passed) for check in found][-1] == ("revoked", False)
    assert caller is not None


async def test_a_flood_of_revoked_tokens_is_remembered_nowhere(world: World):
    world.revoke()
    for number in range(50):
        assert (await world.refusal(uti=f"token-{number}")).failed.name == "revoked"
    assert world.identity._remembered == {}
