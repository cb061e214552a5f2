"""The keys are read from the vault, seldom when there is no need, and soon when one was replaced."""

import asyncio
from base64 import b64encode, urlsafe_b64encode

import pytest

from postern.errors import Problem
from postern.security.signed_urls.keys import AGAIN_SECONDS, MISSING_SECONDS, UrlKeys, key_in, secret_name
from tests.security.signed_urls.fakes import AWAY, KEY, OTHER, Clock, Vault
from tests.table import table

pytestmark = pytest.mark.anyio

PRIMARY, SECONDARY = secret_name("orders", "primary"), secret_name("orders", "secondary")
TEXT, OTHER_TEXT = (urlsafe_b64encode(key).decode().rstrip("=") for key in (KEY, OTHER))


@table(
    ("value", "key"),
    [
        (TEXT, KEY),
        (TEXT + "=\n", KEY),
        (b64encode(b"\xff" * 32).decode(), b"\xff" * 32),
        (urlsafe_b64encode(b"\xff" * 32).decode(), b"\xff" * 32),
        (urlsafe_b64encode(KEY[:31]).decode(), None),
        (urlsafe_b64encode(KEY + b"x").decode(), None),
        ("", None),
        ("ä" * 43, None),
        ("secret with spaces", None),
        ("A", None),
    ],
)
def test_a_key_is_32_bytes_in_either_base64(value: str, key: bytes | None):
    assert key_in(value) == key


async def test_one_key_is_enough_and_the_other_is_not_looked_for_by_each_request():
    vault, clock = Vault({PRIMARY: TEXT}), Clock()
    keys = UrlKeys(vault, clock=clock)
    for _ in range(100):
        found = await keys.of("orders")
        assert (found.found, found.problem) == ({"primary": KEY}, None)
    assert vault.asked == [PRIMARY, SECONDARY]
    clock.now += MISSING_SECONDS
    vault.secrets[SECONDARY] = OTHER_TEXT
    assert (await keys.of("orders")).found == {"primary": KEY, "secondary": OTHER}


async def test_a_flood_of_wrong_signatures_reads_the_keys_once_in_a_while_for_all_requests():
    vault, clock = Vault({PRIMARY: TEXT}), Clock()
    keys = UrlKeys(vault, clock=clock)
    await keys.of("orders")
    vault.asked.clear()
    await asyncio.gather(*(keys.again("orders") for _ in range(100)))
    for _ in range(100):
        await keys.again("orders")
    assert vault.asked == [PRIMARY, SECONDARY]
    clock.now += AGAIN_SECONDS
    await keys.again("orders")
    assert len(vault.asked) == 4


async def test_a_replaced_key_is_there_for_the_next_request_that_fits_none():
    vault, clock = Vault({PRIMARY: TEXT}), Clock()
    keys = UrlKeys(vault, clock=clock)
    await keys.of("orders")
    vault.secrets[PRIMARY] = OTHER_TEXT
    assert (await keys.of("orders")).found == {"primary": KEY}
    assert (await keys.again("orders")).found == {"primary": OTHER}
    assert (await keys.of("orders")).found == {"primary": OTHER}


async def test_a_request_that_is_cancelled_takes_nothing_from_others_who_wait_for_the_same_keys():
    going = asyncio.Event()

    async def read(_: str, *, fresh: bool) -> str | None:
        await going.wait()
        return TEXT if fresh else OTHER_TEXT

    keys = UrlKeys(read, clock=Clock())
    first, second = (asyncio.ensure_future(keys.again("orders")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    going.set()
    assert (await second).found == {"primary": KEY, "secondary": KEY}


async def test_a_vault_that_is_away_is_no_vault_without_keys():
    vault, clock = Vault({PRIMARY: TEXT}, away=AWAY), Clock()
    keys = UrlKeys(vault, clock=clock)
    for _ in range(10):
        found = await keys.of("orders")
        assert (found.found, found.problem) == ({}, AWAY)
    assert vault.asked == [PRIMARY, SECONDARY]
    vault.away = None
    clock.now += AGAIN_SECONDS
    assert (await keys.of("orders")).found == {"primary": KEY}


async def test_a_secret_that_is_no_key_is_named_to_operators_and_its_value_to_nobody():
    keys = UrlKeys(Vault({PRIMARY: "too short a value"}), clock=Clock())
    found = await keys.of("orders")
    assert found.problem is not None
    assert PRIMARY in found.problem.reason
    assert "too short a value" not in repr(found) + found.problem.reason + found.problem.detail
    with pytest.raises(Problem) as unfit:
        await keys.to_sign("orders", "primary")
    assert unfit.value.code == "signing-key-unavailable"
    assert f"The secret {PRIMARY} is not 32 bytes" in unfit.value.detail


async def test_a_key_that_signs_is_read_from_the_vault_each_time_and_made_only_by_a_local_one():
    vault = Vault({PRIMARY: TEXT})
    keys = UrlKeys(vault, clock=Clock())
    await keys.of("orders")
    vault.secrets[PRIMARY] = OTHER_TEXT
    assert await keys.to_sign("orders", "primary") == OTHER
    with pytest.raises(Problem) as missing:
        await keys.to_sign("orders", "secondary")
    assert SECONDARY in missing.value.detail
    local = UrlKeys(vault, make=lambda name: vault.secrets.update({name: TEXT}), clock=Clock())
    assert await local.to_sign("orders", "secondary") == KEY


async def test_no_repr_has_a_key():
    keys = UrlKeys(Vault({PRIMARY: TEXT}), clock=Clock())
    shown = repr(await keys.of("orders")) + repr(keys)
    assert TEXT not in shown
    assert repr(KEY) not in shown
