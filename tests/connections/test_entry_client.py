"""Connections and the vault, with the real Azure clients against the local tenant."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from postern.connections import ConnectionFault, Connections
from postern.local_tenant import LocalTenant
from postern.settings import Settings, load_settings

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GRAPH = "https://graph.microsoft.com/.default"


def settings_for(local: LocalTenant, **more: Any) -> Settings:
    own = local.applications["postern"]
    auth = {
        "type": "entra",
        "client_id": own.client_id,
        "client_secret": {"key_vault": own.client_secret_name},
        "scopes": [GRAPH],
    }
    values = {
        "tenant_id": local.tenant_id,
        "authority": local.authority,
        "ca_bundle": str(local.ca_bundle),
        "key_vault_url": local.key_vault_url,
        "azure_credential": "client_secret",
        "connections": {
            "graph": {"base_url": local.graph_url, "auth": auth},
            "open": {"base_url": local.graph_url, "auth": {"type": "none"}},
            "misspelt": {"base_url": local.graph_url, "auth": {**auth, "client_secret": {"key_vault": "missing"}}},
        },
        **more,
    }
    return load_settings({}, folder=local.folder, defaults=values)


@pytest.fixture
async def connections(local_tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connections]:
    """Connections whose own credential is the local tenant's application for Postern."""
    own = local_tenant.applications["postern"]
    monkeypatch.setenv("AZURE_TENANT_ID", local_tenant.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", own.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", local_tenant.client_secret("postern"))
    opened = Connections(settings_for(local_tenant), local_tenant.authority)
    yield opened
    await opened.aclose()


async def test_a_secret_is_read_from_the_vault(connections: Connections, local_tenant: LocalTenant):
    name = local_tenant.applications["postern"].client_secret_name
    assert await connections.secret(name) == local_tenant.client_secret("postern")


async def test_a_secret_that_is_not_there_is_a_clear_fault(connections: Connections):
    with pytest.raises(ConnectionFault, match="the secret misspelt is not in"):
        await connections.secret("misspelt")


@pytest.mark.parametrize("missing", ["key_vault_url", "azure_credential"])
async def test_a_secret_without_a_vault_names_the_setting(local_tenant: LocalTenant, missing: str):
    opened = Connections(settings_for(local_tenant, **{missing: None}), local_tenant.authority)
    with pytest.raises(ConnectionFault, match=f"POSTERN_{missing.upper()} is not set"):
        await opened.secret("x")
    await opened.aclose()


async def test_a_credential_without_its_variables_names_them(
    local_tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AZURE_CLIENT_SECRET", raising=False)
    opened = Connections(settings_for(local_tenant), local_tenant.authority)
    with pytest.raises(ConnectionFault, match="AZURE_CLIENT_SECRET"):
        await opened.secret("x")
    await opened.aclose()


async def test_a_connection_signs_in_and_finds_people(connections: Connections):
    found = await connections.client("graph").get("/users", params={"$filter": "startswith(displayName,'L')"})
    assert [person["displayName"] for person in found.raise_for_status().json()["value"]] == ["Lisa Moreau"]


async def test_a_connection_without_authentication_sends_no_token(connections: Connections):
    assert (await connections.client("open").get("/users")).status_code == 401


async def test_a_connection_that_is_not_configured_is_a_clear_fault(connections: Connections):
    with pytest.raises(
        ConnectionFault, match=r"^connections\.sap is not in postern\.toml\. Connections: graph, misspelt, open\."
    ):
        connections.client("sap")


async def test_a_secret_that_is_misspelt_stops_the_call_before_it_is_sent(connections: Connections):
    reported = r"^connections\.misspelt cannot read its client_secret: the secret missing is not in"
    with pytest.raises(ConnectionFault, match=reported):
        await connections.client("misspelt").get("/users")


@pytest.mark.parametrize(
    "path",
    [
        "https://elsewhere.example/v1.0/users",
        "http://127.0.0.1/users",
        "/../../secrets/postern-client-secret/",
        "/users/../../../secrets/postern-client-secret/",
        "/%2e%2e/%2e%2e/secrets/postern-client-secret/",
    ],
)
async def test_nothing_is_sent_to_another_origin_or_above_the_base_path(connections: Connections, path: str):
    with pytest.raises(ConnectionFault, match=r"connections.graph is for"):
        await connections.client("graph").get(path)


async def test_faults_hold_no_secret(connections: Connections, local_tenant: LocalTenant):
    """Azure's errors hold whole replies: what is passed on names the kind of the error only."""
    settings = settings_for(local_tenant)
    wrong = settings.connections["graph"].auth.model_copy(update={"client_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12})
    graph = settings.connections["graph"].model_copy(update={"auth": wrong})
    opened = Connections(settings.model_copy(update={"connections": {"graph": graph}}), local_tenant.authority)
    with pytest.raises(ConnectionFault) as caught:
        await opened.client("graph").get("/users")
    assert caught.value.entry == "connections.graph"
    assert local_tenant.client_secret("postern") not in str(caught.value)
    assert caught.value.__cause__ is None
    await opened.aclose()
