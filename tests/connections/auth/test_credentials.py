"""Postern's own credential for its Key Vault, of each kind, by the variables that azure-identity documents."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError

from postern import azure_clients
from postern.local_tenant import LocalTenant, serve, serve_identity
from postern.local_tenant.directory import SYSTEM_IDENTITY, USER_IDENTITY
from postern.logs import QUIET

pytestmark = pytest.mark.anyio

SCOPE = "https://graph.microsoft.com/.default"
VARIABLES = (
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of Azure's variables is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def own(tenant: LocalTenant, kind: str) -> AsyncIterator[AsyncTokenCredential]:
    async with azure_clients.own_credential(kind, tenant.authority, tenant.ca_bundle) as credential:
        yield credential


async def caller(tenant: LocalTenant, kind: str) -> str:
    """The object id that the credential's token is of."""
    async with own(tenant, kind) as credential:
        token = await credential.get_token(SCOPE)
    claims: dict[str, Any] = jwt.decode(token.token, options={"verify_signature": False})
    return str(claims["oid"])


async def read_secret(tenant: LocalTenant, kind: str) -> str | None:
    async with (
        own(tenant, kind) as credential,
        azure_clients.secret_client(tenant.key_vault_url, credential, tenant.ca_bundle) as client,
    ):
        return (await client.get_secret("nightly-report-client-secret")).value


@pytest.fixture
def as_application(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", tenant.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", tenant.client_id)


async def test_a_client_secret_reads_the_vault(
    tenant: LocalTenant, as_application: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", tenant.client_secret("postern"))
    assert await read_secret(tenant, "client_secret") == tenant.client_secret("nightly-report")


async def test_a_managed_identity_reads_the_vault(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    with serve_identity(tenant) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert await read_secret(tenant, "managed_identity") == tenant.client_secret("nightly-report")
        assert await caller(tenant, "managed_identity") == SYSTEM_IDENTITY.object_id
        monkeypatch.setenv("AZURE_CLIENT_ID", USER_IDENTITY.client_id)
        assert await caller(tenant, "managed_identity") == USER_IDENTITY.object_id


async def test_a_workload_identity_reads_the_vault(
    tenant: LocalTenant, as_application: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "token"
    file.write_text(tenant.service_account_token())
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    assert await read_secret(tenant, "workload_identity") == tenant.client_secret("nightly-report")


@pytest.mark.process
async def test_a_developer_is_who_the_azure_command_line_knows(
    tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    answer = {"accessToken": tenant.token("ada"), "expires_on": 4_000_000_000, "tokenType": "Bearer"}
    command = tmp_path / "az"
    command.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert await caller(tenant, "developer") == tenant.people["ada"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("client_secret", ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")),
        ("workload_identity", ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")),
    ],
)
def test_variables_that_are_missing_are_named(kind: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_TENANT_ID", "x")
    with pytest.raises(LookupError) as caught:
        azure_clients.own_credential(kind, None, None)
    assert str(caught.value) == (f"POSTERN_AZURE_CREDENTIAL is {kind}: set {', '.join(names[1:])} in the environment")


@pytest.mark.parametrize("padded", ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"])
def test_a_variable_with_a_line_end_is_named(padded: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "planted\n" if name == padded else "x")
    with pytest.raises(LookupError, match=f"{padded} has white space or a line end around it") as caught:
        azure_clients.own_credential("client_secret", None, None)
    assert "planted" not in str(caught.value)


def test_a_token_file_that_cannot_be_read_is_named(as_application: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(LookupError, match=r"/nowhere/token, which AZURE_FEDERATED_TOKEN_FILE names, cannot be read"):
        azure_clients.own_credential("workload_identity", None, None)


async def test_a_rejected_sign_in_is_in_no_log(
    tenant: LocalTenant, as_application: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Azure's libraries would log the whole response: they are quiet also without configured logging."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "MARKER")
    async with own(tenant, "client_secret") as credential:
        with pytest.raises(ClientAuthenticationError):
            await credential.get_token(SCOPE)
    assert not [record for record in caplog.records if record.name.startswith(("azure", "msal", "urllib3"))]
    assert all(logging.getLogger(name).level == QUIET[name] for name in ("azure", "azure.identity", "urllib3"))


def test_a_transport_waits_for_a_short_time_and_takes_nothing_from_the_environment(tenant: LocalTenant):
    transport = azure_clients.transport(tenant.ca_bundle)
    assert transport.connection_config.timeout == (azure_clients.CONNECT_SECONDS, azure_clients.READ_SECONDS)
    assert transport.connection_config.verify == str(tenant.ca_bundle)
    assert azure_clients.transport(None).connection_config.verify is True
    transport.open()
    assert not transport.session.trust_env
    transport.close()
