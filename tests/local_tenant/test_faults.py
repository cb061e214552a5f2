"""What goes wrong on purpose, and managed identities, with the real Azure clients."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceResponseError
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant, serve_identity
from postern.local_tenant.directory import SYSTEM_IDENTITY, USER_IDENTITY

pytestmark = pytest.mark.anyio

FLOW = "https://service.flow.microsoft.com/"


@pytest.fixture(autouse=True)
def restored(tenant: LocalTenant) -> Iterator[None]:
    yield
    for part in (tenant.faults.entra, tenant.faults.vault, tenant.faults.identity):
        part.restore()


def transport(tenant: LocalTenant, seconds: float = 5) -> AsyncioRequestsTransport:
    return AsyncioRequestsTransport(connection_verify=str(tenant.ca_bundle), connection_timeout=seconds)


@asynccontextmanager
async def vault(tenant: LocalTenant, retries: int = 0, seconds: float = 5) -> AsyncIterator[SecretClient]:
    async with (
        ClientSecretCredential(
            tenant.tenant_id,
            tenant.client_id,
            tenant.client_secret("postern"),
            authority=tenant.authority,
            disable_instance_discovery=True,
            transport=transport(tenant),
            retry_total=0,
        ) as credential,
        SecretClient(
            tenant.key_vault_url, credential, transport=transport(tenant, seconds), retry_total=retries
        ) as client,
    ):
        yield client


async def test_the_vault_throttles_and_the_client_tries_again(tenant: LocalTenant) -> None:
    """As often as it was switched on. A client without retries gets the 429."""
    tenant.put_secret("books", "value")
    async with vault(tenant, retries=2) as client:
        tenant.faults.vault.throttle(times=2, retry_after=0)
        assert (await client.get_secret("books")).value == "value"
    async with vault(tenant) as client:
        tenant.faults.vault.throttle(retry_after=None)
        with pytest.raises(HttpResponseError) as caught:
            await client.get_secret("books")
    assert caught.value.status_code == 429
    assert caught.value.error is not None
    assert caught.value.error.code == "Throttled"


async def test_the_vault_can_be_out(tenant: LocalTenant) -> None:
    """It says so by 503, or says nothing at all; afterwards it is as before."""
    tenant.put_secret("books", "value")
    async with vault(tenant) as client, vault(tenant, seconds=0.3) as impatient:
        tenant.faults.vault.fail(503)
        with pytest.raises(HttpResponseError) as caught:
            await client.get_secret("books")
        assert caught.value.status_code == 503
        tenant.faults.vault.hang()
        with pytest.raises(ServiceResponseError):
            await impatient.get_secret("books")
        tenant.faults.vault.restore()
        assert (await client.get_secret("books")).value == "value"


async def test_a_secret_has_its_content_type(tenant: LocalTenant) -> None:
    """A certificate's is that of its form, others have none."""
    async with vault(tenant) as client:
        certificate = await client.get_secret("invoice-export-certificate")
        secret = await client.get_secret("postern-client-secret")
    assert certificate.properties.content_type == "application/x-pkcs12"
    assert secret.properties.content_type is None


async def test_each_part_counts_its_requests(tenant: LocalTenant, client: AsyncClient) -> None:
    """The others' are not counted, and neither are those for discovery or people."""
    counts = [tenant.faults.entra.requests, tenant.faults.vault.requests, tenant.faults.identity.requests]
    await client.get("/secrets/x/")
    await client.get("/graph/v1.0/users")
    await client.get(f"/{tenant.tenant_id}/discovery/v2.0/keys")
    await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token")
    assert [tenant.faults.entra.requests, tenant.faults.vault.requests, tenant.faults.identity.requests] == [
        counts[0] + 1,
        counts[1] + 1,
        counts[2],
    ]


@pytest.mark.parametrize(
    ("switch", "status", "code"),
    [("throttle", 429, 90055), ("fail", 503, 90033), ("refuse", 400, 53003)],
)
async def test_the_token_endpoint_fails_as_switched(
    tenant: LocalTenant, client: AsyncClient, switch: str, status: int, code: int
) -> None:
    """In Entra's shape, once or until it is restored."""
    url = f"/{tenant.tenant_id}/oauth2/v2.0/token"
    arguments = (53003,) if switch == "refuse" else ()
    getattr(tenant.faults.entra, switch)(*arguments, times=1)
    response = await client.post(url)
    assert (response.status_code, response.json()["error_codes"]) == (status, [code])
    assert response.headers.get("retry-after") == ("1" if switch == "throttle" else None)
    assert (await client.post(url)).json()["error_codes"] == [90014]


@pytest.mark.parametrize(
    "audience",
    ["api://unknown", "api://postern/", f"{FLOW}/", "00000000-0000-0000-0000-000000000001", "https://x.example"],
)
async def test_an_unknown_resource_gets_no_token(tenant: LocalTenant, client: AsyncClient, audience: str) -> None:
    """Names are compared exactly."""
    own = tenant.applications["backup-job"]
    form = {
        "grant_type": "client_credentials",
        "client_id": own.client_id,
        "client_secret": tenant.client_secret("backup-job"),
        "scope": f"{audience}/.default",
    }
    response = await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form)
    assert (response.status_code, response.json()["error_codes"]) == (400, [500011])
    known = await client.post(
        f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form | {"scope": "api://nightly-report/.default"}
    )
    assert known.status_code == 200


@pytest.fixture
def variables(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The endpoint of managed identities, and its variables in the environment."""
    with serve_identity(tenant) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield variables


async def identity_token(client_id: str | None, scope: str) -> AccessToken:
    async with ManagedIdentityCredential(
        client_id=client_id, transport=AsyncioRequestsTransport(connection_timeout=5), retry_total=0
    ) as credential:
        token: AccessToken = await credential.get_token(scope)
        return token


async def test_managed_identities_get_tokens(tenant: LocalTenant, variables: dict[str, str]) -> None:
    """The system-assigned one, or the one that is named; in plain HTTP on loopback, as beside a container."""
    assert variables["IDENTITY_ENDPOINT"].startswith("http://127.0.0.1:")
    for client_id, expected in ((None, SYSTEM_IDENTITY), (USER_IDENTITY.client_id, USER_IDENTITY)):
        token = await identity_token(client_id, f"{FLOW}/.default")
        claims = jwt.decode(token.token, options={"verify_signature": False})
        assert (claims["aud"], claims["oid"], claims["idtyp"]) == (FLOW, expected.object_id, "app")
        assert 3500 < token.expires_on - time.time() <= 3601
    version_2 = await identity_token(None, f"{tenant.client_id}/.default")
    assert jwt.decode(version_2.token, options={"verify_signature": False})["ver"] == "2.0"


async def test_an_identity_that_is_not_assigned_gets_none(tenant: LocalTenant, variables: dict[str, str]) -> None:
    """An application's client id is not an identity's, and an unknown resource has no tokens."""
    for client_id, scope in ((tenant.client_id, f"{FLOW}/.default"), (None, "api://unknown/.default")):
        with pytest.raises(ClientAuthenticationError) as caught:
            await identity_token(client_id, scope)
        response: Any = caught.value.response
        assert response.status_code == 400


async def test_the_identity_endpoint_wants_its_header_and_version(
    tenant: LocalTenant, variables: dict[str, str]
) -> None:
    """A page that a server is tricked into fetching has neither."""
    good = {"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]}
    query = {"api-version": "2019-08-01", "resource": FLOW}
    async with http_client(timeout=5) as client:
        url = variables["IDENTITY_ENDPOINT"]
        statuses = [
            (await client.get(url, headers=headers, params=params)).status_code
            for headers, params in (
                (good, query),
                ({}, query),
                ({"X-IDENTITY-HEADER": "x"}, query),
                (good, {"resource": FLOW}),
                (good, {"api-version": "2019-08-01"}),
            )
        ]
        assert statuses == [200, 401, 401, 400, 400]
        tenant.faults.identity.fail(500)
        assert (await client.get(url, headers=good, params=query)).status_code == 500
