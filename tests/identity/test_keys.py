"""How signing keys are kept: few fetches, fresh keys, and no way to empty the set from outside."""

import asyncio

import pytest
from structlog.testing import capture_logs

from postern.errors import Problem
from postern.identity.keys import SigningKeys
from tests.identity.minting import TENANT, Authority, Clock, jwk, key_set

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def authority():
    return Authority(jwk())


@pytest.fixture
def keys(authority, clock):
    return SigningKeys(TENANT, authority.fetch, clock=clock)


async def until_fetched(authority: Authority, times: int) -> None:
    async with asyncio.timeout(30):
        while authority.fetches < times:
            await asyncio.sleep(0)


async def unavailable(keys: SigningKeys, kid: str = "key-1") -> None:
    with pytest.raises(Problem) as caught:
        await keys.find(kid)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")


async def test_a_hundred_first_callers_share_one_fetch(keys, authority):
    found = await asyncio.gather(*[keys.find("key-1") for _ in range(100)])
    assert authority.fetches == 1
    assert all(key is found[0] is not None for key in found)


@pytest.mark.slow
async def test_two_thousand_unknown_names_cause_one_fetch_a_cooldown_and_delay_no_known_one(keys, authority, clock):
    await keys.refresh()
    for round_ in range(1, 4):
        authority.open.clear()
        strangers = [asyncio.create_task(keys.find(f"random-{number}")) for number in range(2_000)]
        await until_fetched(authority, 1 + round_)
        assert keys.get("key-1") is await asyncio.wait_for(keys.find("key-1"), 20)  # while the fetch hangs
        authority.open.set()
        assert set(await asyncio.gather(*strangers)) == {None}
        for number in range(100):
            assert await keys.find(f"later-{number}") is None
        assert authority.fetches == 1 + round_
        clock.at += 30


async def test_a_rotated_key_is_accepted_at_once(keys, authority):
    await keys.refresh()
    authority.document = key_set(jwk(), jwk("next", "key-2"))
    assert await keys.find("key-2") is not None
    assert authority.fetches == 2


async def test_who_joins_a_fetch_that_began_too_early_may_cause_another(keys, authority):
    await keys.refresh()
    authority.open.clear()
    background = asyncio.create_task(keys.refresh())
    await until_fetched(authority, 2)
    authority.document = key_set(jwk("next", "key-2"))
    waiting = asyncio.create_task(keys.find("key-2"))
    await asyncio.sleep(0)
    authority.open.set()
    await background
    assert await waiting is not None
    assert authority.fetches == 3


async def test_the_set_is_replaced_and_unchanged_keys_stay_the_same_objects(keys, authority):
    authority.document = key_set(jwk(), jwk("next", "key-2"))
    await keys.refresh()
    before = keys.get("key-2")
    authority.document = key_set(jwk("next", "key-2"))
    await keys.refresh()
    assert keys.get("key-1") is None
    assert keys.get("key-2") is before
    authority.document = key_set(jwk("stranger", "key-2"))
    await keys.refresh()
    assert keys.get("key-2") is not before


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"<html>",
        b"{}",
        key_set(),
        key_set(jwk("weak", bits=1024)),
        TimeoutError(),
        OSError("no route"),
        KeyError("x"),
    ],
)
async def test_no_answer_however_bad_empties_the_set(keys, authority, clock, broken):
    await keys.refresh()
    if isinstance(broken, bytes):
        authority.document = broken
    else:
        authority.failure = broken
    clock.at = 3600
    with capture_logs() as logs:
        await keys.refresh()
    assert keys.get("key-1") is not None
    assert keys.last_error
    assert keys.age == 3600
    assert [line["event"] for line in logs] == ["signing-keys-fetch-failed"]


async def test_an_outage_is_outlived_until_the_set_is_stale_and_heals(keys, authority, clock):
    await keys.refresh()
    authority.failure = OSError("no route")
    clock.at = 86399
    assert await keys.find("key-1") is not None
    assert await keys.find("unknown") is None
    clock.at = 86400
    assert keys.get("key-1") is None
    assert not keys.usable
    await unavailable(keys)
    authority.failure = None
    clock.at += 30
    assert await keys.find("key-1") is not None
    assert (keys.last_error, keys.age) == ("", 0)


async def test_a_failed_fetch_for_an_unknown_name_counts_for_the_cooldown(keys, authority, clock):
    await keys.refresh()
    authority.failure = OSError("no route")
    for _ in range(50):
        assert await keys.find("unknown") is None
    assert authority.fetches == 2
    clock.at = 30
    await keys.find("unknown")
    assert authority.fetches == 3


async def test_a_cold_start_without_the_authority_answers_503_at_once_between_attempts_and_heals(
    keys, authority, clock
):
    authority.failure = OSError("no route")
    attempts = []
    for second in range(100):
        clock.at = second
        before = authority.fetches
        for _ in range(20):
            await unavailable(keys)
        if authority.fetches > before:
            assert authority.fetches == before + 1
            attempts.append(second)
    assert attempts == [0, 1, 3, 7, 15, 31, 61, 91]
    authority.failure = None
    clock.at = 121
    assert await keys.find("key-1") is not None


async def test_one_who_stops_waiting_does_not_cancel_the_fetch_for_others(keys, authority):
    authority.open.clear()
    impatient = asyncio.create_task(keys.find("key-1"))
    patient = asyncio.create_task(keys.find("key-1"))
    await until_fetched(authority, 1)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    authority.open.set()
    assert await patient is not None
    assert authority.fetches == 1


async def test_the_background_loop_fetches_at_once_then_regularly_and_sooner_after_failures(authority, clock):
    pauses = []
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.at += seconds
        authority.failure = OSError("no route") if 1 < len(pauses) < 9 else None
        if len(pauses) == 11:
            done.set()
            await asyncio.Event().wait()

    keys = SigningKeys(TENANT, authority.fetch, clock=clock, sleep=sleep)
    running = asyncio.create_task(keys.run())
    await asyncio.wait_for(done.wait(), 5)
    running.cancel()
    assert pauses == [3600, 3600, 1, 2, 4, 8, 16, 30, 30, 3600, 3600]
    assert keys.get("key-1") is not None


async def test_a_failure_is_logged_short_and_on_one_line(keys, authority):
    authority.failure = OSError("no\nroute" + "x" * 1000)
    with capture_logs() as logs:
        await keys.refresh()
    assert logs[0]["reason"].isprintable()
    assert len(logs[0]["reason"]) <= 500
    assert logs[0]["age"] is None
