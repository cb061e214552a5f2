"""The real azure-identity and Key Vault clients against the local tenant, with all their checks on."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.secrets.aio import SecretClient

from postern.local_tenant import LocalTenant

pytestmark = pytest.mark.anyio

FLOW = "https://service.flow.microsoft.com/"


def transport(tenant: LocalTenant) -> AsyncioRequestsTransport:
    return AsyncioRequestsTransport(connection_verify=str(tenant.ca_bundle), connection_timeout=5, read_timeout=5)


@asynccontextmanager
async def credential(
    tenant: LocalTenant, application: str = "postern", *, secret: str = "", client_id: str = "", tenant_id: str = ""
) -> AsyncIterator[ClientSecretCredential]:
    async with ClientSecretCredential(
        tenant_id or tenant.tenant_id,
        client_id or tenant.applications[application].client_id,
        secret or tenant.client_secret(application),
        authority=tenant.authority,
        disable_instance_discovery=True,
        transport=transport(tenant),
        retry_total=0,
    ) as made:
        yield made


@asynccontextmanager
async def vault(tenant: LocalTenant, application: str = "postern") -> AsyncIterator[SecretClient]:
    async with (
        credential(tenant, application) as made,
        SecretClient(tenant.key_vault_url, made, transport=transport(tenant), retry_total=0) as client,
    ):
        yield client


def claims_of(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def refusal(made: ClientSecretCredential, scope: str) -> tuple[int, dict[str, object]]:
    """Status and document of the refusal that the credential meets."""
    with pytest.raises(ClientAuthenticationError) as caught:
        await made.get_token(scope)
    response: Any = caught.value.response
    return response.status_code, response.json()


async def test_a_good_secret_gets_an_app_only_token(tenant: LocalTenant) -> None:
    """The caller application's token for Postern carries its role, its ids and no scopes."""
    async with credential(tenant, "nightly-report") as made:
        token = await made.get_token(f"{tenant.client_id}/.default")
    claims = claims_of(token.token)
    application = tenant.applications["nightly-report"]
    assert claims["aud"] == tenant.client_id
    assert claims["iss"] == f"{tenant.authority}/{tenant.tenant_id}/v2.0"
    assert claims["oid"] == claims["sub"] == application.object_id
    assert (claims["azp"], claims["azpacr"], claims["idtyp"], claims["ver"]) == (
        application.client_id,
        "1",
        "app",
        "2.0",
    )
    assert claims["roles"] == ["Workflow.Run"]
    assert "scp" not in claims
    assert 3500 < token.expires_on - time.time() <= 3600


async def test_an_app_id_uri_gets_a_v1_token_for_exactly_it(tenant: LocalTenant) -> None:
    """The audience is the scope without `/.default`, and the token a v1 one."""
    async with credential(tenant, "nightly-report") as made:
        claims = claims_of((await made.get_token(f"{tenant.audience}/.default")).token)
    assert (claims["aud"], claims["ver"]) == (tenant.audience, "1.0")
    assert claims["iss"] == f"https://sts.windows.net/{tenant.tenant_id}/"
    assert (claims["appid"], claims["appidacr"]) == (tenant.applications["nightly-report"].client_id, "1")
    assert claims["roles"] == ["Workflow.Run"]


async def test_a_double_slash_gives_an_audience_that_ends_with_one(tenant: LocalTenant) -> None:
    """Power Automate's audience keeps its slash, and Postern's app roles are not on another API's token."""
    async with credential(tenant, "nightly-report") as made:
        claims = claims_of((await made.get_token(f"{FLOW}/.default")).token)
    assert claims["aud"] == FLOW
    assert "roles" not in claims


async def test_an_application_without_roles_gets_a_token_without_roles(tenant: LocalTenant) -> None:
    """`backup-job` has neither scp nor roles."""
    async with credential(tenant, "backup-job") as made:
        claims = claims_of((await made.get_token(f"{tenant.client_id}/.default")).token)
    assert not {"scp", "roles"} & set(claims)


@pytest.mark.parametrize(
    ("changed", "scope", "status", "error", "code"),
    [
        ({"secret": "not-the-secret"}, "api://postern/.default", 401, "invalid_client", 7000215),
        ({"client_id": "00000000-0000-0000-0000-000000000001"}, "x://y/.default", 400, "unauthorized_client", 700016),
        ({}, "api://postern/read", 400, "invalid_scope", 1002012),
        ({}, "postern/.default", 400, "invalid_scope", 70011),
        ({"tenant_id": "00000000-0000-0000-0000-000000000002"}, "x://y/.default", 400, "invalid_request", 90002),
    ],
    ids=["wrong-secret", "unknown-application", "not-default", "no-resource", "unknown-tenant"],
)
async def test_an_error_has_entras_shape(
    tenant: LocalTenant, changed: dict[str, str], scope: str, status: int, error: str, code: int
) -> None:
    """Status, error and AADSTS code are those that Entra sends, and no secret is repeated."""
    async with credential(tenant, **changed) as made:
        found, document = await refusal(made, scope)
    assert found == status
    assert (document["error"], document["error_codes"]) == (error, [code])
    assert str(document["error_description"]).startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= set(document)
    assert tenant.client_secret("postern") not in str(document)


async def test_a_rotated_secret_replaces_the_former_one(tenant: LocalTenant) -> None:
    """The former secret is wrong from then on, or expired when it was given an end, and the vault has the new one."""
    first = tenant.client_secret("backup-job")
    second = tenant.rotate_client_secret("backup-job")
    third = tenant.rotate_client_secret("backup-job", former_expires=time.time() - 1)
    for secret, code in ((first, 7000215), (second, 7000222)):
        async with credential(tenant, "backup-job", secret=secret) as made:
            status, document = await refusal(made, "api://postern/.default")
        assert (status, document["error_codes"]) == (401, [code])
    async with credential(tenant, "backup-job", secret=third) as made:
        assert (await made.get_token("api://postern/.default")).token
    async with vault(tenant) as client:
        assert (await client.get_secret("backup-job-client-secret")).value == third


async def test_the_vault_hands_out_a_secret_with_its_version_and_date(tenant: LocalTenant) -> None:
    """The newest version is the default, an older one is found by its id, and `expires_on` is there when it is set."""
    end = int(time.time()) + 86400
    tenant.put_secret("booking-key", "first")
    tenant.put_secret("booking-key", "second", expires=end)
    async with vault(tenant) as client:
        newest = await client.get_secret("booking-key")
        assert newest.value == "second"
        assert newest.properties.enabled
        assert newest.properties.expires_on is not None
        assert newest.properties.expires_on.timestamp() == end
        assert newest.properties.vault_url == tenant.key_vault_url
        again = await client.get_secret("Booking-Key", newest.properties.version)
        assert again.value == "second"
        older = await client.get_secret("booking-key", tenant.vault.versions("booking-key")[0].version)
        assert (older.value, older.properties.expires_on) == ("first", None)


async def test_a_missing_secret_is_not_found(tenant: LocalTenant) -> None:
    """Key Vault's code for it is SecretNotFound; an unknown version is the same."""
    async with vault(tenant) as client:
        for name, version in (("no-such-secret", None), ("postern-client-secret", "0" * 32)):
            with pytest.raises(ResourceNotFoundError) as caught:
                await client.get_secret(name, version)
            assert caught.value.error is not None
            assert caught.value.error.code == "SecretNotFound"


async def test_an_application_without_right_is_forbidden(tenant: LocalTenant) -> None:
    """Another application signs in well and is still not let near the secrets, present or missing."""
    async with vault(tenant, "nightly-report") as client:
        for name in ("postern-client-secret", "no-such-secret"):
            with pytest.raises(HttpResponseError) as caught:
                await client.get_secret(name)
            assert caught.value.status_code == 403
            assert "ForbiddenByRbac" in caught.value.response.text()  # type: ignore[union-attr]


async def test_a_disabled_secret_is_forbidden(tenant: LocalTenant) -> None:
    """It cannot be read, and the reason is SecretDisabled."""
    tenant.put_secret("retired", "unseen", enabled=False)
    async with vault(tenant) as client:
        with pytest.raises(HttpResponseError) as caught:
            await client.get_secret("retired")
    assert caught.value.status_code == 403
    assert "SecretDisabled" in caught.value.response.text()  # type: ignore[union-attr]
    assert "unseen" not in caught.value.response.text()  # type: ignore[union-attr]


async def test_the_clients_refuse_a_tenant_that_they_do_not_trust(tenant: LocalTenant) -> None:
    """Without the CA the credential gets no further than the handshake."""
    async with ClientSecretCredential(
        tenant.tenant_id,
        tenant.client_id,
        tenant.client_secret("postern"),
        authority=tenant.authority,
        disable_instance_discovery=True,
        transport=AsyncioRequestsTransport(),
        retry_total=0,
    ) as made:
        with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
            await made.get_token("api://postern/.default")
