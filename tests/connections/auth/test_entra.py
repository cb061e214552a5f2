"""Signing in at Entra, with the real Azure clients against the local tenant."""

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import anyio
import jwt
import pytest
from azure.core.pipeline.transport import AsyncioRequestsTransport

from postern.connections.auth import entra_token_request
from postern.connections.auth.sign_in import signed
from postern.connections.faults import ConnectionFault
from postern.http_client import Request
from postern.local_tenant import LocalTenant, serve, serve_identity
from postern.local_tenant.directory import SYSTEM_IDENTITY, USER_IDENTITY
from postern.settings import EntraAuth
from tests.connections.entra_entries import (
    ENTRY,
    Remembering,
    around,
    by_certificate,
    by_secret,
    entry,
    fault_of,
    reference,
    sign_in,
    stages,
)
from tests.process.test_imports import loaded_after

pytestmark = pytest.mark.anyio

FLOW = "https://service.flow.microsoft.com/"


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A tenant of this module's own, whose secrets change."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


@pytest.fixture(autouse=True)
def healthy(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No fault is left, and no variable of Azure's is set."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield
    tenant.faults.entra.restore()
    tenant.faults.identity.restore()


@pytest.fixture
def identity(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The managed identity endpoint beside this process."""
    with serve_identity(tenant) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_client_secret_gets_a_token_for_exactly_the_audience(tenant: LocalTenant):
    token = await sign_in(tenant, by_secret(tenant, audience=FLOW)).credential()
    assert (claims_of(token)["aud"], claims_of(token)["appid"]) == (FLOW, tenant.applications["backup-job"].client_id)


async def test_scopes_are_requested_as_they_are_written(tenant: LocalTenant):
    auth = by_secret(tenant, audience="", scopes=("https://graph.microsoft.com/.default",))
    assert claims_of(await sign_in(tenant, auth).credential())["aud"] == "https://graph.microsoft.com"


async def test_the_token_is_on_the_copy_that_is_sent_only(tenant: LocalTenant):
    signing = sign_in(tenant, by_secret(tenant))
    request = Request("GET", "https://books.example/")
    flow = signing.async_auth_flow(request)
    await anext(flow)
    assert signed(request).headers["Authorization"].startswith("Bearer eyJ")
    assert "Authorization" not in request.headers
    await flow.aclose()


async def test_fifty_cold_calls_make_one_token_request_and_read_one_secret(tenant: LocalTenant):
    received, secrets = tenant.faults.entra.requests, Remembering(tenant)
    signing = sign_in(tenant, by_secret(tenant), secrets=secrets)
    tokens = set()

    async def call() -> None:
        tokens.add(await signing.credential())

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call)
    await signing.credential()
    assert (len(tokens), tenant.faults.entra.requests - received, len(secrets.reads)) == (1, 1, 1)


async def test_a_rotated_secret_is_read_anew_and_the_call_goes_on(tenant: LocalTenant):
    secrets = Remembering(tenant)
    await secrets.read("backup-job-client-secret")
    tenant.rotate_client_secret("backup-job")
    received = tenant.faults.entra.requests
    assert await sign_in(tenant, by_secret(tenant), secrets=secrets).credential()
    assert (tenant.faults.entra.requests - received, len(secrets.reads)) == (2, 2)


async def test_a_secret_that_expired_and_was_replaced_is_read_anew_too(tenant: LocalTenant):
    secrets = Remembering(tenant)
    await secrets.read("backup-job-client-secret")
    tenant.rotate_client_secret("backup-job", former_expires=time.time() - 1)
    assert await sign_in(tenant, by_secret(tenant), secrets=secrets).credential()


async def test_a_wrong_value_is_tried_once_more_and_then_reported(tenant: LocalTenant):
    tenant.put_secret("books-secret", "MARKER-not-it")
    secrets, received = Remembering(tenant), tenant.faults.entra.requests
    fault = await fault_of(tenant, by_secret(tenant, client_secret=reference("books-secret")), secrets=secrets)
    assert str(fault) == (
        'connections.books signs in with a wrong value in the secret "books-secret". Store the client secret\'s value '
        'in "books-secret", not the secret\'s id (Entra shows the value once, when it makes the secret).'
    )
    assert (tenant.faults.entra.requests - received, len(secrets.reads)) == (2, 2)


async def test_a_secrets_id_in_place_of_its_value_is_recognized(tenant: LocalTenant):
    tenant.put_secret("books-secret", "0f6d2c58-94b3-4e1a-a1d7-5b8e3c70f2ff")
    fault = await fault_of(tenant, by_secret(tenant, client_secret=reference("books-secret")))
    assert '"books-secret", which now holds what looks like the secret\'s id' in fault.fix


async def test_an_expired_secret_is_reported_with_the_vaults_date(tenant: LocalTenant):
    expired = tenant.client_secret("nightly-report")
    tenant.rotate_client_secret("nightly-report", former_expires=time.time() - 1)
    tenant.put_secret("old-secret", expired, expires=1_780_000_000)
    fault = await fault_of(tenant, by_secret(tenant, "nightly-report", client_secret=reference("old-secret")))
    assert 'the secret "old-secret", whose client secret has expired' in fault.wrong
    assert "(expiry date in the vault: 2026-05-28 20:26 UTC)" in fault.wrong
    assert "Make a new client secret" in fault.fix


async def test_a_fault_of_the_vault_names_the_entry_and_its_key(tenant: LocalTenant):
    fault = await fault_of(tenant, by_secret(tenant, client_secret=reference("misspelt")))
    assert fault.entry == ENTRY
    assert fault.wrong.startswith("cannot read its client_secret: the secret misspelt ")
    assert fault.fix


@pytest.mark.parametrize("pem", [False, True], ids=["pfx", "pem"])
async def test_a_certificate_gets_a_token(tenant: LocalTenant, pem: bool):
    tenant.renew_certificate("invoice-export", pem=pem)
    token = await sign_in(tenant, by_certificate(tenant)).credential()
    assert claims_of(token)["appid"] == tenant.applications["invoice-export"].client_id


async def test_a_renewed_certificate_is_read_anew(tenant: LocalTenant):
    secrets = Remembering(tenant)
    await secrets.read("invoice-export-certificate")
    tenant.renew_certificate("invoice-export")
    assert await sign_in(tenant, by_certificate(tenant), secrets=secrets).credential()
    assert len(secrets.reads) == 2


async def test_a_certificate_that_is_not_registered_is_reported_by_its_thumbprint(tenant: LocalTenant):
    stored = tenant.vault.versions("invoice-export-certificate")[-1]
    tenant.put_secret("other-certificate", stored.value, content_type=stored.content_type)
    tenant.renew_certificate("invoice-export")
    fault = await fault_of(tenant, by_certificate(tenant, certificate=reference("other-certificate")))
    assert 'the certificate in the secret "other-certificate"' in fault.wrong
    first = (await stages(sign_in(tenant, by_certificate(tenant, certificate=reference("other-certificate")))))[0]
    assert fault.fix.split("thumbprint ")[1].split()[0] in first.detail


async def test_the_system_assigned_identity_gets_a_token(tenant: LocalTenant, identity: None):
    token = await sign_in(tenant, entry(managed_identity=True, audience=FLOW)).credential()
    assert (claims_of(token)["aud"], claims_of(token)["oid"]) == (FLOW, SYSTEM_IDENTITY.object_id)


async def test_a_user_assigned_identity_is_named_by_its_client_id(tenant: LocalTenant, identity: None):
    auth = entry(managed_identity=True, client_id=USER_IDENTITY.client_id, audience=tenant.audience)
    assert claims_of(await sign_in(tenant, auth).credential())["oid"] == USER_IDENTITY.object_id


async def test_a_managed_identity_needs_no_tenant(tenant: LocalTenant, identity: None):
    assert await sign_in(tenant, entry(managed_identity=True, audience=FLOW), tenant_id=None).credential()


async def test_an_identity_that_is_not_assigned_is_reported(tenant: LocalTenant, identity: None):
    unknown = "00000000-0000-0000-0000-000000000001"
    fault = await fault_of(tenant, entry(managed_identity=True, client_id=unknown, audience=FLOW))
    assert fault.wrong == f"signs in with the managed identity {unknown}, which is not assigned here"


async def test_where_there_is_no_managed_identity_a_laptop_is_helped(
    tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
        fault = await fault_of(tenant, entry(managed_identity=True, audience=FLOW))
    assert "managed identities work in Azure only" in fault.wrong
    assert "on a laptop, write client_secret in its place" in fault.fix


async def test_a_wrong_identity_header(tenant: LocalTenant, identity: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    fault = await fault_of(tenant, entry(managed_identity=True, audience=FLOW))
    assert "IDENTITY_HEADER" in fault.fix


async def test_several_scopes_are_too_many_for_a_managed_identity(tenant: LocalTenant):
    fault = await fault_of(tenant, entry(managed_identity=True, scopes=("https://a/.default", "https://b/.default")))
    assert fault.wrong == "requests several scopes as a managed identity"


def federated(tenant: LocalTenant, **changed: Any) -> EntraAuth:
    values = {"client_id": tenant.applications["invoice-export"].client_id, "federated": True, "audience": FLOW}
    return entry(**{**values, **changed})


async def test_a_managed_identitys_token_serves_as_a_federated_credential(tenant: LocalTenant, identity: None):
    """No secret at all: the vault is not received."""
    secrets = Remembering(tenant)
    signing = sign_in(tenant, federated(tenant), azure_credential="managed_identity", secrets=secrets)
    token = await signing.credential()
    assert claims_of(token)["appid"] == tenant.applications["invoice-export"].client_id
    assert not secrets.reads


async def test_a_service_accounts_token_serves_as_a_federated_credential(
    tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "token"
    file.write_text(tenant.service_account_token() + "\n")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    token = await sign_in(tenant, federated(tenant), azure_credential="workload_identity").credential()
    assert claims_of(token)["appid"] == tenant.applications["invoice-export"].client_id


async def test_a_federated_token_that_is_not_trusted_is_reported_with_issuer_and_subject(
    tenant: LocalTenant, identity: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("AZURE_CLIENT_ID", USER_IDENTITY.client_id)
    other = await fault_of(tenant, federated(tenant), azure_credential="managed_identity")
    assert f"whose subject {USER_IDENTITY.object_id} " in other.wrong
    assert f"(issuer {tenant.issuers[1]})" in other.wrong
    file = tmp_path / "token"
    file.write_text(tenant.service_account_token("system:serviceaccount:default:other"))
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    subject = await fault_of(tenant, federated(tenant), azure_credential="workload_identity")
    assert "system:serviceaccount:default:other" in subject.wrong
    file.write_text(tenant.service_account_token())
    nightly = tenant.applications["nightly-report"].client_id
    none = await fault_of(tenant, federated(tenant, client_id=nightly), azure_credential="workload_identity")
    assert f"issuer {tenant.cluster_issuer}, subject system:serviceaccount:postern:postern" in none.wrong
    file.write_text(tenant.service_account_token(now=time.time() - 7200))
    late = await fault_of(tenant, federated(tenant), azure_credential="workload_identity")
    assert "not valid now" in late.wrong


@pytest.mark.parametrize("kind", [None, "client_secret", "developer"])
async def test_a_federated_entry_needs_an_identity(tenant: LocalTenant, kind: str | None):
    fault = await fault_of(tenant, federated(tenant), azure_credential=kind)
    assert "Set POSTERN_AZURE_CREDENTIAL to managed_identity or workload_identity" in fault.fix


async def test_a_federated_entry_without_the_clusters_file_names_the_variable(
    tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch
):
    missing = await fault_of(tenant, federated(tenant), azure_credential="workload_identity")
    assert "set AZURE_FEDERATED_TOKEN_FILE" in missing.wrong
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token")
    assert "/nowhere/token" in (await fault_of(tenant, federated(tenant), azure_credential="workload_identity")).wrong


async def test_throttling_that_ends_is_waited_for(tenant: LocalTenant):
    tenant.faults.entra.throttle(times=1, retry_after=0)
    assert await sign_in(tenant, by_secret(tenant)).credential()


async def test_throttling_that_lasts_is_not_a_bad_credential(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(entra_token_request, "SECONDS", 0.5)
    tenant.faults.entra.throttle(retry_after=3600)
    fault = await fault_of(tenant, by_secret(tenant))
    assert fault.wrong == f"cannot sign in now: {tenant.authority} gets too many requests (429)"


async def test_an_outage_is_reported_as_one(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.azure_clients.RETRIES", 0)
    tenant.faults.entra.fail(503)
    assert (await fault_of(tenant, by_secret(tenant))).wrong == f"cannot sign in now: {tenant.authority} has an outage"


async def test_silence_is_waited_for_a_short_time_only(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(entra_token_request, "SECONDS", 0.3)
    monkeypatch.setattr("postern.azure_clients.READ_SECONDS", 0.6)
    tenant.faults.entra.hang()
    fault = await fault_of(tenant, by_secret(tenant))
    assert fault.wrong == f"cannot sign in: {tenant.authority} gave no token in time"


async def test_no_server_there_is_reported_at_once(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    """Azure's client waits with this sleep before it tries again."""
    monkeypatch.setattr(AsyncioRequestsTransport, "sleep", waited := AsyncMock())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"https://127.0.0.1:{closed.getsockname()[1]}"
        fault = await fault_of(tenant, by_secret(tenant), authority=nowhere)
    assert fault.wrong == f"cannot sign in: {nowhere} could not be reached"
    assert not waited.called


async def test_an_authority_that_is_not_trusted_leads_to_the_ca_bundle(
    tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postern.azure_clients.RETRIES", 0)
    fault = await fault_of(tenant, by_secret(tenant), ca_bundle=None)
    assert "could not be verified" in fault.wrong
    assert "POSTERN_CA_BUNDLE" in fault.fix


@pytest.mark.parametrize(
    ("path", "words"),
    [("/graph", "is not Entra's"), ("http", "does not accept the tenant")],
    ids=["not-entra", "not-https"],
)
async def test_an_authority_that_is_none_is_reported(tenant: LocalTenant, path: str, words: str):
    nowhere = tenant.authority.replace("https:", "http:") if path == "http" else tenant.authority + path
    fault = await fault_of(tenant, by_secret(tenant), authority=nowhere)
    assert words in fault.wrong
    assert "POSTERN_AUTHORITY" in fault.fix


@pytest.mark.process
def test_signing_in_loads_no_azure_before_it_is_used(tmp_path: Path):
    loaded = loaded_after("import postern.connections.auth.entra, postern.connections.auth.entra_errors", tmp_path)
    assert not {"azure", "msal", "requests", "cryptography"} & loaded


@pytest.mark.parametrize("missing", ["tenant_id", "client_id"])
async def test_an_entry_that_leaves_out_who_signs_in_is_reported(tenant: LocalTenant, missing: str):
    auth = by_secret(tenant, client_id=None) if missing == "client_id" else by_secret(tenant)
    fault = await fault_of(tenant, auth, tenant_id=None if missing == "tenant_id" else tenant.tenant_id)
    assert missing.upper() in f"{fault.wrong} {fault.fix}".upper()


async def test_trying_out_shows_every_stage(tenant: LocalTenant):
    shown = await stages(sign_in(tenant, by_secret(tenant)))
    assert [(stage.name, stage.passed) for stage in shown] == [("secret", True), ("token", True), ("expiry", True)]
    own = tenant.applications["backup-job"]
    assert shown[0].detail == '"backup-job-client-secret" in the Key Vault, no expiry date'
    assert shown[1].detail == (
        f"{tenant.authority} for {tenant.audience}/.default, tenant {tenant.tenant_id}, client id {own.client_id}"
    )
    assert shown[2].detail.startswith("valid until 20")


async def test_trying_out_ends_where_it_fails_and_says_how_to_fix_it(tenant: LocalTenant, identity: None):
    missing = await stages(sign_in(tenant, by_secret(tenant, client_secret=reference("misspelt"))))
    assert [(stage.name, stage.passed, stage.fix) for stage in missing] == [("secret", False, "Store it")]
    unknown = await stages(sign_in(tenant, by_secret(tenant, audience="api://unknown")))
    assert [stage.passed for stage in unknown] == [True, False]
    assert "letter by letter" in unknown[1].fix
    tenant.put_secret("no-certificate", "MARKER")
    bad = await stages(sign_in(tenant, by_certificate(tenant, certificate=reference("no-certificate"))))
    assert [(stage.name, stage.passed) for stage in bad] == [("certificate", False)]
    system = await stages(sign_in(tenant, entry(managed_identity=True, audience=FLOW)))
    assert [(stage.name, stage.passed) for stage in system] == [("token", True), ("expiry", True)]


async def test_a_token_that_is_over_at_once_points_at_the_clock(tenant: LocalTenant):
    from postern.connections.auth.entra import EntraSignIn

    ahead = EntraSignIn(ENTRY, by_secret(tenant), around(tenant), clock=lambda: time.time() + 86400)
    last = (await stages(ahead))[-1]
    assert (last.name, last.passed, last.fix) == ("expiry", False, "Set the clock of this machine")


async def test_secrets_tokens_and_answers_are_in_no_log_fault_or_repr(
    tenant: LocalTenant, caplog: pytest.LogCaptureFixture, identity: None
):
    caplog.set_level(logging.DEBUG)
    tenant.put_secret("books-secret", "MARKER-wrong")
    own = tenant.applications["backup-job"]
    written = []
    good = sign_in(tenant, by_secret(tenant))
    token = await good.credential()
    certified = sign_in(tenant, by_certificate(tenant))
    signings = [good, certified, sign_in(tenant, federated(tenant), azure_credential="managed_identity")]
    for signing in signings:
        written += [repr(signing), repr(vars(signing)), *map(repr, await stages(signing))]
    fault = await fault_of(tenant, by_secret(tenant, client_secret=reference("books-secret")))
    written += [str(fault), repr(fault), repr(vars(fault)), caplog.text]
    everything = "\n".join(written)
    key = tenant.vault.versions("invoice-export-certificate")[-1].value
    for secret in ("MARKER", tenant.client_secret(own.name), token, "eyJ", "PRIVATE KEY", key[:60], "Trace ID"):
        assert secret not in everything


async def test_what_fails_is_tried_again_by_the_next_call(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    signing = sign_in(tenant, by_secret(tenant))
    monkeypatch.setattr("postern.azure_clients.RETRIES", 0)
    tenant.faults.entra.fail(503)
    with pytest.raises(ConnectionFault):
        await signing.credential()
    tenant.faults.entra.restore()
    assert await signing.credential()


CP1 = '{"access_token":{"xms_cc":{"values":["cp1"]}}}'


async def test_a_claims_challenge_is_answered_past_the_cache(tenant: LocalTenant):
    """The new token takes the place of the one that was rejected."""
    signing = sign_in(tenant, by_secret(tenant))
    first = await signing.credential()
    assert await signing.credential() == first
    second = await signing.answer(first, CP1)
    assert second is not None
    assert (claims_of(first).get("xms_cc"), claims_of(second)["xms_cc"]) == (None, ["cp1"])
    assert await signing.credential() == second


async def test_claims_that_entra_rejects_are_in_no_error(tenant: LocalTenant, capfd: pytest.CaptureFixture[str]):
    signing = sign_in(tenant, by_secret(tenant))
    first = await signing.credential()
    with pytest.raises(ConnectionFault) as caught:
        await signing.answer(first, "marker-7d1f")
    assert "marker-7d1f" not in f"{caught.value!r}{caught.value}{vars(caught.value)}{''.join(capfd.readouterr())}"


async def test_a_managed_identity_asks_again_for_claims(tenant: LocalTenant, identity: None):
    """Its endpoint knows no claims, so that the token has none."""
    signing = sign_in(tenant, EntraAuth(audience=FLOW, managed_identity=True))
    first = await signing.credential()
    assert await signing.answer(first, CP1) not in (None, first)
