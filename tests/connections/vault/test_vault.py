"""The vault by the real Azure client against the local tenant, over TLS with every check on."""

import asyncio

import anyio
import pytest
from azure.keyvault.secrets._shared import http_challenge_cache
from structlog.testing import capture_logs

from postern.connections.faults import ConnectionFault
from postern.connections.vault import vault as module
from postern.connections.vault.secret import NoSuchSecret
from postern.connections.vault.vault import AGAIN, BACK_OFF, STALE, Vault
from postern.local_tenant import LocalTenant
from tests.connections.conftest import Fronted, Hand, vault_of

pytestmark = pytest.mark.anyio

NAME = "payroll-key"


@pytest.fixture
def tenant(fronted: Fronted) -> LocalTenant:
    """The tenant, with a secret that is new to this test."""
    fronted.tenant.put_secret(NAME, "first")
    return fronted.tenant


async def fault_of(vault: Vault, name: str = NAME) -> ConnectionFault:
    with pytest.raises(ConnectionFault) as caught:
        await vault.read(name)
    assert caught.value.__cause__ is None
    return caught.value


async def test_a_secret_is_read_with_its_date(vault: Vault, tenant: LocalTenant):
    tenant.put_secret("dated", "value", expires=2_000_000_000)
    secret = await vault.read("dated")
    assert (secret.name, secret.value, secret.expires_on, secret.content_type) == ("dated", "value", 2e9, "")
    assert await vault.secret(NAME) == "first"
    assert "value" not in repr(secret)


async def test_50_who_ask_cold_cause_one_token_request_and_one_reading(
    vault: Vault, tenant: LocalTenant, fronted: Fronted
):
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(vault.read, NAME)
    assert (fronted.front.tokens, fronted.front.reads) == (1, [NAME])


async def test_cold_secrets_share_one_token_request(vault: Vault, tenant: LocalTenant, fronted: Fronted):
    names = [NAME, *(each.client_secret_name for each in tenant.applications.values() if not each.public)]
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(vault.read, name)
    assert fronted.front.tokens == 1
    assert sorted(fronted.front.reads) == sorted(names)


async def test_what_is_remembered_is_not_requested(vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand):
    await vault.read(NAME)
    hand.now += 299
    for name in (NAME, NAME.upper()):
        assert await vault.secret(name) == "first"
    assert fronted.front.reads == [NAME]
    hand.now += 1
    await vault.read(NAME)
    assert (fronted.front.tokens, len(fronted.front.reads)) == (1, 2)


async def test_the_first_caller_may_be_cancelled_while_others_wait(vault: Vault, tenant: LocalTenant, fronted: Fronted):
    fronted.front.hangs = True
    first, second = (asyncio.create_task(vault.read(NAME)) for _ in range(2))
    async with asyncio.timeout(10):
        while not vault._requests:
            await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    fronted.front.hangs = False
    assert (await second).value == "first"
    assert fronted.front.reads == [NAME]


async def test_a_rotated_secret_is_picked_up_when_the_former_value_is_old(
    vault: Vault, tenant: LocalTenant, hand: Hand
):
    await vault.read(NAME)
    tenant.put_secret(NAME, "second")
    assert await vault.secret(NAME) == "first"
    hand.now += 300
    assert await vault.secret(NAME) == "second"


async def test_a_rejected_value_is_read_again_at_once(vault: Vault, tenant: LocalTenant, fronted: Fronted):
    await vault.read(NAME)
    for value in ("second", "third"):
        former = await vault.secret(NAME)
        tenant.put_secret(NAME, value)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(vault.read_again, NAME, former)
        assert (await vault.read_again(NAME, former)).value == value
    assert len(fronted.front.reads) == 3


async def test_a_server_that_rejects_for_ever_does_not_cause_a_vault_request_each_time(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    for _ in range(100):
        assert (await vault.read_again(NAME, "first")).value == "first"
    assert len(fronted.front.reads) == 2
    hand.now += AGAIN
    await vault.read_again(NAME, "first")
    assert len(fronted.front.reads) == 3


async def test_nor_does_one_whose_callers_give_up(fronted: Fronted, tenant: LocalTenant, hand: Hand):
    """Who waits may be cancelled, and the usual readings between two refusals change nothing."""
    vault = vault_of(tenant, hand, max_age=0)
    await vault.read(NAME)
    for _ in range(5):
        again = asyncio.create_task(vault.read_again(NAME, "first"))
        await asyncio.sleep(0)  # it has received, and waits
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
        await vault.read(NAME)
    assert len(fronted.front.reads) <= 7
    await vault.aclose()


async def test_a_reading_that_was_under_way_at_the_rejection_does_not_decide(
    vault: Vault, tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch, hand: Hand
):
    """It may have begun before the secret was changed."""
    await vault.read(NAME)
    hand.now += 300
    read = vault._vault.get
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def slow(name: str, version: str, *, retries: int) -> object:
        found = await read(name, version, retries=retries)
        arrived.set()
        await leave.wait()
        return found

    monkeypatch.setattr(vault._vault, "get", slow)
    waiting = asyncio.create_task(vault.read(NAME))
    await arrived.wait()
    tenant.put_secret(NAME, "second")
    again = asyncio.create_task(vault.read_again(NAME, "first"))
    await asyncio.sleep(0)
    leave.set()
    assert (await waiting).value == "first"
    assert (await again).value == "second"


@pytest.mark.parametrize("name", ["graph_secret", "", "a" * 128, "a/b", "../x", "ключ", 7])
async def test_what_is_no_name_is_rejected_before_any_request(vault: Vault, fronted: Fronted, name: str):
    for ask in (vault.read(name), vault.secret(name), vault.read_again(name, "x")):
        with pytest.raises(ConnectionFault, match="needs the name of a secret in Key Vault") as caught:
            await ask
        assert not name or str(name) not in str(caught.value).replace("ctx.secret", "")
    assert (fronted.front.tokens, fronted.front.reads) == (0, [])


async def test_a_misspelt_name_says_which_vault_and_how_to_list_it(vault: Vault, tenant: LocalTenant):
    fault = await fault_of(vault, "misspelt")
    assert fault.entry == "the secret misspelt"
    assert fault.wrong == f"is not in the Key Vault {tenant.key_vault_url}"
    assert "postern secrets set" in fault.fix
    assert vault.names == ()
    assert isinstance(fault, NoSuchSecret)


async def test_a_secret_can_be_read_as_it_is_now_whatever_is_remembered(vault: Vault, tenant: LocalTenant):
    assert await vault.secret(NAME) == "first"
    tenant.put_secret(NAME, "second")
    assert (await vault.read_now(NAME)).value == "second"
    assert await vault.secret(NAME) == "second"


async def test_a_secret_that_is_disabled_or_gone_is_forgotten_at_once(vault: Vault, tenant: LocalTenant, hand: Hand):
    tenant.put_secret("retired", "value")
    await vault.read("retired")
    tenant.put_secret("retired", "value", enabled=False)
    hand.now += 300
    fault = await fault_of(vault, "retired")
    assert (fault.entry, fault.wrong) == ("the secret retired", "is disabled")
    assert vault.names == ()


async def test_an_identity_without_right_gets_its_role(
    fronted: Fronted, tenant: LocalTenant, hand: Hand, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AZURE_CLIENT_ID", tenant.applications["nightly-report"].client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", tenant.client_secret("nightly-report"))
    vault = vault_of(tenant, hand)
    fault = await fault_of(vault)
    assert "is not allowed to read secrets" in fault.wrong
    assert '"Key Vault Secrets User"' in fault.fix
    await vault.aclose()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AZURE_CLIENT_SECRET", "wrong-value-marker", "AZURE_CLIENT_SECRET is not a secret of the application"),
        ("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000001", "AZURE_CLIENT_ID is not an application"),
        ("AZURE_CLIENT_SECRET", "", "AZURE_CLIENT_SECRET"),
    ],
)
async def test_a_credential_that_cannot_sign_in_names_its_variables(
    tenant: LocalTenant, hand: Hand, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
):
    monkeypatch.setenv(variable, value)
    vault = vault_of(tenant, hand)
    fault = await fault_of(vault)
    assert fault.entry == "POSTERN_AZURE_CREDENTIAL"
    assert says in str(fault)
    assert "marker" not in str(fault)
    await vault.aclose()


@pytest.mark.parametrize(
    ("url", "credential", "setting"),
    [(None, "client_secret", "POSTERN_KEY_VAULT_URL"), ("https://x.vault.azure.net", None, "POSTERN_AZURE_CREDENTIAL")],
)
async def test_a_setting_that_is_missing_is_named(url: str | None, credential: str | None, setting: str):
    vault = Vault(url, credential)
    fault = await fault_of(vault)
    assert fault.entry == setting
    assert fault.wrong == f"is not set, and the secret {NAME} is needed"
    await vault.aclose()


async def test_a_vault_of_an_unknown_authority_is_not_spoken_to(tenant: LocalTenant, hand: Hand):
    vault = vault_of(tenant, hand, ca_bundle=None)
    fault = await fault_of(vault)
    assert "not trusted" in fault.wrong
    assert "POSTERN_CA_BUNDLE" in fault.fix
    await vault.aclose()


async def test_a_challenge_for_another_host_gets_no_token(vault: Vault, tenant: LocalTenant, fronted: Fronted):
    elsewhere = f'Bearer authorization="{tenant.authority}/{tenant.tenant_id}", resource="https://vault.example"'
    http_challenge_cache.clear()  # it is of the whole process
    fronted.front.answer = (401, {"WWW-Authenticate": elsewhere})
    fault = await fault_of(vault)
    assert "requires tokens for another service" in fault.wrong
    assert fronted.front.tokens == 0


async def test_a_secret_without_a_value_is_a_fault(vault: Vault, tenant: LocalTenant):
    tenant.put_secret("empty", "")
    assert "has no value" in (await fault_of(vault, "empty")).wrong


async def test_in_an_outage_the_last_good_value_serves_for_a_bounded_time(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    await vault.read(NAME)
    fronted.front.answer = (500, {})
    hand.now += STALE - 1
    assert await vault.secret(NAME) == "first"
    assert (await vault.read_again(NAME, "first")).value == "first"
    hand.now += 1
    fronted.front.answer = (503, {"Retry-After": "120"})
    assert "returned 503 for now" in (await fault_of(vault)).wrong
    assert vault.names == ()


async def test_an_outage_is_reported_once_for_each_secret_and_so_is_its_end(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    other = tenant.applications["backup-job"].client_secret_name
    for name in (NAME, other):
        await vault.read(name)
    fronted.front.answer = (502, {})
    hand.now += 300
    with capture_logs() as lines:
        for _ in range(3):
            for name in (NAME, other):
                await vault.read(name)
            hand.now += BACK_OFF
        fronted.front.answer = None
        for name in (NAME, NAME, other):
            await vault.read(name)
    reported = [(line["event"], line["name"], line["log_level"]) for line in lines]
    assert reported == [
        ("key-vault-away", NAME, "warning"),
        ("key-vault-away", other, "warning"),
        ("key-vault-back", NAME, "info"),
        ("key-vault-back", other, "info"),
    ]
    assert "returned 502" in lines[0]["reason"]
    assert "first" not in str(lines)


async def test_while_the_vault_is_unavailable_it_gets_few_requests(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    await vault.read(NAME)
    fronted.front.answer = (500, {})
    hand.now += 300
    for _ in range(20):
        await vault.read(NAME)
        await vault.read_again(NAME, "first")
    assert len(fronted.front.reads) == 2
    hand.now += BACK_OFF
    await vault.read(NAME)
    assert len(fronted.front.reads) == 3


async def test_a_vault_that_throttles_is_left_alone_as_long_as_it_says(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand
):
    await vault.read(NAME)
    fronted.front.answer = (429, {"Retry-After": "40"})
    hand.now += 300
    for passes, reads in ((0, 2), (39, 2), (1, 3)):
        hand.now += passes
        assert await vault.secret(NAME) == "first"
        assert len(fronted.front.reads) == reads


async def test_a_vault_that_throttles_from_the_first_reading_on_is_a_fault_without_waiting(
    vault: Vault, tenant: LocalTenant, fronted: Fronted
):
    fronted.front.answer = (429, {"Retry-After": "86400"})
    with anyio.fail_after(5):
        fault = await fault_of(vault)
    assert "gets too many requests" in fault.wrong
    assert "POSTERN_SECRET_MAX_AGE" in fault.fix


async def test_a_slow_vault_is_waited_for_in_bounded_time(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, hand: Hand, monkeypatch: pytest.MonkeyPatch
):
    await vault.read(NAME)
    hand.now += 300
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "PATIENCE_WITH_VALUE", 0.1)
    fronted.front.hangs = True
    with anyio.fail_after(5):
        assert await vault.secret(NAME) == "first"
        assert "did not respond in time" in (await fault_of(vault, "another")).wrong
    fronted.front.hangs = False


async def test_an_outage_of_the_sign_in_is_one_too(
    tenant: LocalTenant, fronted: Fronted, hand: Hand, monkeypatch: pytest.MonkeyPatch
):
    fronted.front.below, fronted.front.answer = "/oauth2/v2.0/token", (503, {})
    monkeypatch.setattr("postern.azure_clients.RETRIES", 0)
    vault = vault_of(tenant, hand)
    fault = await fault_of(vault)
    assert fault.wrong.startswith("cannot be read: Entra, where POSTERN_AZURE_CREDENTIAL signs in, returned 503")
    assert fronted.front.tokens == 1
    await vault.aclose()


async def test_what_does_not_answer_as_a_vault_is_reported(vault: Vault, tenant: LocalTenant, fronted: Fronted):
    fronted.front.answer, fronted.front.body = (200, {"Content-Type": "text/html"}), b"<html>Sign in to the network"
    fault = await fault_of(vault)
    assert "does not respond like a Key Vault" in fault.wrong
    assert "html" not in str(fault)


async def test_a_vault_without_a_listener_cannot_be_reached(tenant: LocalTenant, hand: Hand):
    vault = Vault("https://127.0.0.1:1", "client_secret", ca_bundle=tenant.ca_bundle, clock=hand)
    fault = await fault_of(vault)
    assert "https://127.0.0.1:1 cannot be reached" in fault.wrong
    assert "POSTERN_KEY_VAULT_URL" in fault.fix
    await vault.aclose()


async def test_closing_ends_what_is_under_way(fronted: Fronted, tenant: LocalTenant, hand: Hand):
    vault = vault_of(tenant, hand)
    fronted.front.hangs = True
    waiting = asyncio.create_task(vault.read(NAME))
    async with asyncio.timeout(10):
        while not fronted.front.hanging:
            await asyncio.sleep(0.01)
    await vault.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    fronted.front.hangs = False
    async with asyncio.timeout(10):
        while fronted.front.hanging:
            await asyncio.sleep(0.01)


async def test_a_sign_in_that_takes_too_long_is_not_said_to_be_the_vault_s(
    vault: Vault, tenant: LocalTenant, fronted: Fronted, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    fronted.front.below, fronted.front.hangs = "/oauth2/v2.0/token", True
    fault = await fault_of(vault)
    assert "Entra did not respond in time" in fault.wrong
    fronted.front.works()
    assert await vault.secret(NAME) == "first"
    fronted.front.hangs = True
    assert "the Key Vault https://" in (await fault_of(vault, "another")).wrong
    fronted.front.works()
