"""The key of grants, by the real Azure client and the local tenant's Key Vault: each version opens what it sealed."""

import asyncio
import secrets
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.faults import ConnectionFault
from postern.connections.grants.seal import Seal
from postern.connections.grants.tokens import GrantTokens
from postern.connections.sealing.sealed_text import CannotOpen
from postern.connections.sealing.vault_keys import GONE_SECONDS, GRANTS_KEY, KEPT, VaultKeys, key_in
from postern.connections.vault.secret import NoSuchVersion, Secret
from postern.connections.vault.vault import STALE, Vault
from postern.local_tenant import LocalTenant
from tests.connections.conftest import Fronted, Hand

NAME = "grants-key"
TOKENS = GrantTokens("access", "refresh")
ROW = ("tickets", "t/lisa")


def put(tenant: LocalTenant, name: str = NAME) -> str:
    """A new key as the latest version. Returns that version's id."""
    tenant.put_secret(name, secrets.token_urlsafe(32))
    return tenant.vault.versions(name)[-1].version


@pytest.fixture
def tenant(fronted: Fronted) -> LocalTenant:
    return fronted.tenant


@pytest.mark.anyio
async def test_a_new_version_seals_when_the_former_one_is_old_and_both_open(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    first = put(tenant)
    seal = Seal(VaultKeys(vault, NAME, GRANTS_KEY))
    old, version = await seal.seal(*ROW, TOKENS)
    second = put(tenant)
    assert version == first == (await seal.seal(*ROW, TOKENS))[1]
    hand.now += 300
    new, newest = await seal.seal(*ROW, TOKENS)
    assert newest == second
    other_process = Seal(VaultKeys(vault, NAME, GRANTS_KEY))
    for opening in (seal, other_process):
        assert await opening.open(*ROW, old, first) == await opening.open(*ROW, new, second) == TOKENS
    assert len(fronted.front.reads) == 3  # the first and the second as the latest one, and the first for the other
    for _ in range(9):
        await other_process.open(*ROW, old, first)
    assert len(fronted.front.reads) == 3


@pytest.mark.anyio
async def test_50_who_need_a_former_version_cause_one_reading_of_it(
    vault: Vault, tenant: LocalTenant, fronted: Fronted
):
    old = put(tenant)
    put(tenant)
    keys = VaultKeys(vault, NAME, GRANTS_KEY)
    await keys.newest()
    found = await asyncio.gather(*(keys.of(old) for _ in range(50)))
    assert set(found) == {key_in(tenant.vault.versions(NAME)[-2].value)}
    assert fronted.front.reads == [NAME] * 2


@pytest.mark.anyio
async def test_a_version_that_another_process_knows_first_opens_at_once(vault: Vault, tenant: LocalTenant):
    put(tenant)
    keys = VaultKeys(vault, NAME, GRANTS_KEY)
    before, _ = await keys.newest()
    after = put(tenant)
    key = await keys.of(after)
    assert key == key_in(tenant.vault.versions(NAME)[-1].value)
    assert (await keys.newest())[0] == before


@pytest.mark.anyio
async def test_versions_in_memory_serve_while_the_vault_is_away_and_others_are_a_clear_fault(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    old = put(tenant)
    await vault.read(NAME)
    current = put(tenant)
    hand.now += 300
    keys = VaultKeys(vault, NAME, GRANTS_KEY)
    assert (await keys.newest())[0] == current
    fronted.front.answer = (503, {"Retry-After": "60"})
    hand.now += STALE - 1
    assert (await keys.newest())[0] == current
    with pytest.raises(ConnectionFault, match=f"the secret {NAME} cannot be read: the Key Vault .* returned 503"):
        await keys.of(old)
    hand.now += 1
    with pytest.raises(ConnectionFault, match="returned 503"):
        await keys.newest()
    assert await keys.of(current) == key_in(tenant.vault.versions(NAME)[-1].value)


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["0" * 32, "../other", "", "a/b", "x" * 65, "?"])
async def test_a_version_that_the_vault_does_not_have_opens_nothing(vault: Vault, tenant: LocalTenant, version: str):
    put(tenant)
    with pytest.raises(CannotOpen, match="its key is not in the vault any more"):
        await VaultKeys(vault, NAME, GRANTS_KEY).of(version)
    with pytest.raises(NoSuchVersion):
        await vault.read_version(NAME, version or "-")


@pytest.mark.anyio
async def test_the_vault_is_not_asked_for_a_version_that_is_gone_at_each_call(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    """And what it keeps of them is bounded: whoever can write the database chooses their names."""
    put(tenant)
    keys = VaultKeys(vault, NAME, GRANTS_KEY, hand)
    for number in (1, 1, 1, 2, 2):
        with pytest.raises(CannotOpen, match="its key is not in the vault any more"):
            await keys.of(f"{number:032}")
    assert len(fronted.front.reads) == 1 + 2  # the latest version, and each of the two once
    hand.now += GONE_SECONDS
    with pytest.raises(CannotOpen):
        await keys.of(f"{1:032}")
    assert len(fronted.front.reads) == 1 + 2 + 1
    for number in range(3, 3 + KEPT):
        with pytest.raises(CannotOpen):
            await keys.of(f"{number:032}")
    assert len(keys._gone) == KEPT


@pytest.mark.anyio
async def test_a_key_that_is_not_there_at_all_is_a_fault_of_the_setting_and_not_of_the_rows(
    vault: Vault, tenant: LocalTenant
):
    """Such as a wrong address of the vault: all rows would count as broken."""
    with pytest.raises(ConnectionFault, match=r"the secret nowhere is not in the Key Vault"):
        await VaultKeys(vault, "nowhere", GRANTS_KEY).of("0" * 32)
    with pytest.raises(ConnectionFault, match=r"POSTERN_GRANTS_KEY_NAME is not set, .* Make one, for example with"):
        await VaultKeys(vault, "", GRANTS_KEY).newest()


@pytest.mark.anyio
async def test_a_disabled_version_is_a_fault_that_says_how_to_enable_it(vault: Vault, tenant: LocalTenant):
    tenant.put_secret("disabled", secrets.token_urlsafe(32), enabled=False)
    version = put(tenant, "disabled")
    old = tenant.vault.versions("disabled")[-2].version
    keys = VaultKeys(vault, "disabled", GRANTS_KEY)
    assert (await keys.newest())[0] == version
    with pytest.raises(ConnectionFault, match="the secret disabled is disabled"):
        await keys.of(old)


@pytest.mark.anyio
async def test_what_is_no_key_is_a_clear_fault_that_does_not_repeat_it(vault: Vault, tenant: LocalTenant):
    tenant.put_secret("no-key", "SECRET-MARKER")
    bad = tenant.vault.versions("no-key")[-1].version
    keys = VaultKeys(vault, "no-key", GRANTS_KEY)
    with pytest.raises(ConnectionFault) as raised:
        await keys.newest()
    assert raised.value.entry == "POSTERN_GRANTS_KEY_NAME"
    assert raised.value.wrong == "names the secret no-key, whose value is not 32 bytes in base64url"
    assert "secrets.token_urlsafe(32)" in raised.value.fix
    assert "MARKER" not in str(raised.value)
    put(tenant, "no-key")
    keys = VaultKeys(Copies(vault), "no-key", GRANTS_KEY)
    with pytest.raises(CannotOpen, match="its key is not a key"):
        await keys.of(bad)


class Copies:
    """A vault that remembers no latest version."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    async def read(self, name: str) -> Secret:
        return await self.vault.read_again(name, "SECRET-MARKER")

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.vault.read_again(name, refused)

    async def read_version(self, name: str, version: str) -> Secret:
        return await self.vault.read_version(name, version)


class Numbered:
    """A vault with any number of versions. It counts what is read of them."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, name: str) -> Secret:
        return Secret(name, _key(0), version="0")

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.read(name)

    async def read_version(self, name: str, version: str) -> Secret:
        self.reads += 1
        return Secret(name, _key(int(version)), version=version)


def _key(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes(32)).decode()


@pytest.mark.anyio
async def test_a_bounded_number_of_versions_stays_in_memory():
    vault = Numbered()
    keys = VaultKeys(vault, NAME, GRANTS_KEY)
    for version in range(1, KEPT + 10):
        assert await keys.of(str(version)) == version.to_bytes(32)
    before = vault.reads
    await keys.of(str(KEPT + 9))
    assert vault.reads == before
    await keys.of("1")
    assert vault.reads == before + 1
    assert len(keys._kept) == KEPT


@given(st.binary(min_size=32, max_size=32))
def test_32_bytes_in_base64url_are_a_key_with_and_without_its_padding(key: bytes):
    text = urlsafe_b64encode(key).decode()
    assert key_in(text) == key_in(text.rstrip("=")) == key_in(f"{text}\n") == key


@given(st.binary().filter(lambda value: len(value) != 32).map(lambda value: urlsafe_b64encode(value).decode()))
def test_another_number_of_bytes_is_no_key(text: str):
    assert key_in(text) is None


@given(st.text() | st.text("ABC+/=-_ ", min_size=40, max_size=46))
def test_a_key_is_read_of_base64url_only(text: str):
    key = key_in(text)
    assert key is None or (len(key) == 32 and not set("+/") & set(text))
