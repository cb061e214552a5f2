"""From headers to a Caller: what is remembered, for how long, and what no longer."""

import asyncio
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from postern.access import Caller, Refused
from postern.errors import Problem
from postern.identity import Identity, tenant
from tests.examples import example_count
from tests.identity import minting
from tests.identity.minting import (
    LISA,
    NOW,
    OTHER_ID,
    TENANT,
    TENANT_ID,
    Authority,
    Clock,
    bearer,
    claims,
    header,
    jwk,
    key_set,
    token,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class World:
    """An Identity that serves our tenant, its authority, and both clocks."""

    def __init__(self, **options: Any) -> None:
        self.authority = Authority(jwk())
        self.now, self.clock = Clock(NOW), Clock()
        self.identity = Identity(lambda _: self.authority.fetch, now=self.now, clock=self.clock, **options)
        self.identity.serve([TENANT])

    async def ask(self, text: str) -> Caller:
        return await self.identity.identify(bearer(text))

    async def refusal(self, text: str) -> str:
        with pytest.raises(Refused) as caught:
            await self.ask(text)
        return caught.value.failed.name

    @property
    def remembered(self) -> int:
        return len(self.identity._remembered)


@pytest.fixture
def world():
    return World()


async def refresh(world: World) -> None:
    await world.identity._keys[TENANT_ID].refresh()


async def test_a_valid_token_is_lisa_the_first_time_and_again(world):
    text = token()
    first = await world.ask(text)
    assert (first.object_id, first.kind, first.tenant_id) == (LISA, "user", TENANT_ID)
    assert await world.ask(text) is first
    assert await world.identity.identify([(b"authorization", b"bearer   " + text.encode())]) is first
    assert (world.authority.fetches, world.remembered) == (1, 1)


async def test_a_remembered_token_does_not_excuse_a_second_field(world):
    text = token()
    await world.ask(text)
    with pytest.raises(Refused) as caught:
        await world.identity.identify([*bearer(text), (b"authorization", b"Bearer x")])
    assert caught.value.failed.name == "authorization-header"


async def test_a_remembered_token_expires_on_time(world):
    text = token(claims(exp=NOW + 100))
    await world.ask(text)
    world.now.at = NOW + 159.9
    await world.ask(text)
    world.now.at = NOW + 160
    assert await world.refusal(text) == "expiry"


async def test_a_remembered_token_is_rejected_once_its_key_is_withdrawn(world):
    text = token()
    await world.ask(text)
    world.authority.document = key_set(jwk("next", "key-2"))
    await refresh(world)
    assert await world.refusal(text) == "key-published"


async def test_a_remembered_token_is_rejected_once_its_key_is_exchanged_under_the_same_name(world):
    text = token()
    await world.ask(text)
    world.authority.document = key_set(jwk("next"))
    await refresh(world)
    assert await world.refusal(text) == "signature"


async def test_a_remembered_token_survives_a_refresh_that_changes_nothing(world):
    text = token()
    caller = await world.ask(text)
    await refresh(world)
    assert await world.ask(text) is caller


async def test_an_outage_leaves_valid_tokens_served_until_the_keys_are_stale(world):
    text = token(claims(exp=NOW + 10**6))
    await world.ask(text)
    world.authority.failure = OSError("no route")
    world.clock.at = 86_399
    assert await world.ask(text)
    assert await world.ask(token(claims(exp=NOW + 10**6, jti="new")))
    world.clock.at = 86_400
    for again in (text, token()):
        with pytest.raises(Problem) as caught:
            await world.ask(again)
        assert caught.value.code == "identity-unavailable"
    assert not world.identity.ready


async def test_a_cold_start_is_503_and_heals(world):
    world.authority.failure = OSError("no route")
    with pytest.raises(Problem) as caught:
        await world.ask(token())
    assert caught.value.status == 503
    assert "no route" in world.identity.errors[TENANT_ID]
    assert world.identity.ages == {TENANT_ID: None}
    world.authority.failure = None
    world.clock.at = 1
    assert await world.ask(token())
    assert (world.identity.ready, world.identity.ages, world.identity.errors) == (True, {TENANT_ID: 0}, {})


async def test_what_cannot_be_valid_never_reaches_the_authority(world):
    for text in ("x", "a.b.c", token(head=header(alg="none")), token(claims(tid=OTHER_ID)), token(head=header(kid=7))):
        await world.refusal(text)
    assert world.authority.fetches == 0


@pytest.mark.slow
async def test_two_thousand_random_key_names_cause_one_fetch_and_are_not_remembered(world):
    await world.ask(token())
    forged = token().split(".")
    for _ in range(2_000):
        kid = f"random-{random.random()}"
        head = minting.b64(json.dumps(header(kid=kid)).encode())
        assert await world.refusal(f"{head}.{forged[1]}.{forged[2]}") == "key-published"
    assert (world.authority.fetches, world.remembered) == (2, 1)


async def test_refusals_are_not_remembered(world):
    text = token(head=header(kid="key-2"), by="next")
    assert await world.refusal(text) == "key-published"
    world.authority.document = key_set(jwk("next", "key-2"))
    world.clock.at = 30
    assert await world.ask(text)


async def test_no_more_tokens_are_remembered_than_there_is_room_for_and_the_oldest_goes():
    world = World(remember=3)
    texts = [token(claims(jti=str(number))) for number in range(4)]
    callers = [await world.ask(text) for text in texts]
    assert world.remembered == 3
    assert await world.ask(texts[3]) is callers[3]
    assert await world.ask(texts[0]) is not callers[0]


async def test_a_tenant_that_is_no_longer_served_is_forgotten_at_once(world):
    text = token()
    await world.ask(text)
    world.identity.serve([tenant(OTHER_ID)])
    assert await world.refusal(text) == "known-tenant"
    world.identity.serve([TENANT, tenant(OTHER_ID)])
    assert await world.ask(text)


async def test_serving_the_same_tenants_again_changes_nothing(world):
    text = token()
    caller = await world.ask(text)
    world.identity.serve([tenant(TENANT_ID)])
    assert await world.ask(text) is caller
    assert world.authority.fetches == 1


async def test_a_tenant_that_goes_while_its_keys_are_fetched_admits_no_caller(world):
    world.authority.open.clear()
    asking = asyncio.create_task(world.ask(token()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.identity.serve([tenant(TENANT_ID, authority="https://mirror.test")])
    world.authority.open.set()
    with pytest.raises(Refused):
        await asking
    assert world.remembered == 0


async def test_the_keys_of_one_tenant_do_not_open_the_other():
    """Entra signs for many tenants with the same keys; here each has its own, under one name."""
    other = tenant(OTHER_ID)
    published = {TENANT_ID: Authority(jwk()), OTHER_ID: Authority(jwk("next"))}
    identity = Identity(lambda served: published[served.tenant_id].fetch, now=Clock(NOW))
    identity.serve([TENANT, other])
    theirs = claims(tid=OTHER_ID, iss=f"https://login.microsoftonline.com/{OTHER_ID}/v2.0")
    assert (await identity.identify(bearer(token(theirs, by="next")))).tenant_id == OTHER_ID
    for forged in (
        token(theirs),
        token(by="next"),
        token({**theirs, "tid": TENANT_ID}),
        token({**theirs, "iss": minting.V2}, by="next"),
    ):
        with pytest.raises(Refused) as caught:
            await identity.identify(bearer(forged))
        assert not caught.value.proved


async def test_the_background_loop_follows_the_tenants_that_are_served(world):
    async def settled(expected: dict[str, bool]) -> None:
        async with asyncio.timeout(30):
            while {name: age is not None for name, age in world.identity.ages.items()} != expected:
                await asyncio.sleep(0)

    running = asyncio.create_task(world.identity.run())
    await settled({TENANT_ID: True})
    world.identity.serve([TENANT, tenant(OTHER_ID)])
    await settled({TENANT_ID: True, OTHER_ID: True})
    world.identity.serve([])
    await settled({})
    assert world.identity.ready
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_explain_shows_every_check_also_after_the_first_failure(world):
    text = token(claims(exp=NOW - 1_000, ver="1.0", cnf={}))
    found, caller = await world.identity.examine(text)
    assert [check.name for check in found if not check.passed] == ["version", "expiry", "proof-of-possession"]
    assert caller is None
    found, caller = await world.identity.examine(token())
    assert all(check.passed for check in found)
    assert caller == await world.ask(token())
    found, caller = await world.identity.examine("not a token")
    assert ([check.name for check in found], caller) == (["form"], None)


async def test_explain_works_without_the_authority(world):
    world.authority.failure = OSError("no route")
    found, caller = await world.identity.examine(token())
    assert {check.name for check in found if not check.passed} == {"key-published", "signature"}
    assert "no route" in next(check.found for check in found if check.name == "key-published")
    assert caller is None


@pytest.mark.parametrize("leeway", [-1, 301, float("nan")])
def test_a_leeway_beyond_five_minutes_cannot_be_set(leeway):
    with pytest.raises(ValueError, match="leeway"):
        Identity(lambda _: Authority().fetch, leeway=leeway)


async def test_nothing_of_a_token_is_logged(world):
    text = token(claims(name="Lisa Secret"))
    with capture_logs() as logs:
        await world.ask(text)
        await world.refusal(text[:-9] + "AAAAAAAAA")
    written = repr(logs) + repr(world.identity.__dict__)
    assert not any(part in written for part in text.split(".")[1:])


@settings(max_examples=example_count(300))
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"host"]), st.binary(max_size=80).map(lambda raw: b"Bearer " + raw)
        ),
        max_size=2,
    )
)
def test_any_headers_are_rejected_and_never_an_error(headers):
    world = World()
    with pytest.raises(Refused):
        asyncio.run(world.identity.identify(headers))
