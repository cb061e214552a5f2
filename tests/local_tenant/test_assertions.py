"""How an application authenticates without a secret: by its certificate, or by another issuer's token."""

import base64
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.identity.aio import CertificateCredential, ClientAssertionCredential
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs12

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant
from postern.local_tenant.client_certificates import ClientCertificate
from postern.local_tenant.directory import SYSTEM_IDENTITY, USER_IDENTITY
from postern.local_tenant.tenant import EXCHANGE_AUDIENCE

pytestmark = pytest.mark.anyio

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NAME = "invoice-export"


def options(tenant: LocalTenant) -> dict[str, Any]:
    transport = AsyncioRequestsTransport(connection_verify=str(tenant.ca_bundle), connection_timeout=5)
    return {"authority": tenant.authority, "disable_instance_discovery": True, "transport": transport, "retry_total": 0}


def own_certificate(tenant: LocalTenant) -> ClientCertificate:
    """The current one, as a PFX file: a test may have left one in PEM."""
    if tenant.vault.versions("invoice-export-certificate")[-1].content_type != "application/x-pkcs12":
        tenant.renew_certificate(NAME)
    content = base64.b64decode(tenant.vault.versions("invoice-export-certificate")[-1].value)
    key, certificate, _ = pkcs12.load_key_and_certificates(content, None)
    assert certificate is not None
    return ClientCertificate(certificate, key)  # type: ignore[arg-type]


def assertion(
    tenant: LocalTenant,
    own: ClientCertificate,
    changed: Mapping[str, Any] | None = None,
    *,
    header: Mapping[str, Any] | None = None,
    algorithm: str = "PS256",
    key: Any = None,
) -> str:
    client_id, now = tenant.applications[NAME].client_id, int(time.time())
    endpoint = f"{tenant.authority}/{tenant.tenant_id}/oauth2/v2.0/token"
    claims = {"aud": endpoint, "iss": client_id, "sub": client_id, "jti": "1", "nbf": now, "exp": now + 600}
    thumbprint = base64.urlsafe_b64encode(own.certificate.fingerprint(hashes.SHA256())).decode().rstrip("=")
    named = {"x5t#S256": thumbprint, **(header or {})}
    return jwt.encode({**claims, **(changed or {})}, key or own.key, algorithm, headers=named)


async def ask(tenant: LocalTenant, client: AsyncClient, assertion: str, **changed: str) -> Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": tenant.applications[NAME].client_id,
        "client_assertion_type": TYPE,
        "client_assertion": assertion,
        "scope": f"{tenant.client_id}/.default",
    }
    return await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form | changed)


@pytest.mark.parametrize("pem", [True, False], ids=["pem", "pfx"])
async def test_the_certificate_of_the_vault_signs_in(tenant: LocalTenant, pem: bool) -> None:
    """In both forms that Key Vault hands out, with the real client (PS256, padded segments)."""
    tenant.renew_certificate(NAME, pem=pem)
    stored = tenant.vault.versions("invoice-export-certificate")[-1]
    assert stored.content_type == ("application/x-pem-file" if pem else "application/x-pkcs12")
    content = stored.value.encode() if pem else base64.b64decode(stored.value)
    client_id = tenant.applications[NAME].client_id
    async with CertificateCredential(
        tenant.tenant_id, client_id, certificate_data=content, **options(tenant)
    ) as credential:
        token = await credential.get_token(f"{tenant.client_id}/.default")
    claims = jwt.decode(token.token, options={"verify_signature": False})
    assert (claims["azp"], claims["roles"]) == (client_id, ["Workflow.Run"])


async def test_rs256_is_taken_too(tenant: LocalTenant, client: AsyncClient) -> None:
    """Most libraries still sign so."""
    tenant.renew_certificate(NAME)
    response = await ask(tenant, client, assertion(tenant, own_certificate(tenant), algorithm="RS256"))
    assert response.status_code == 200


async def test_a_former_certificate_signs_in_no_more(tenant: LocalTenant, client: AsyncClient) -> None:
    """Neither does one that has ended."""
    tenant.renew_certificate(NAME)
    former = own_certificate(tenant)
    tenant.renew_certificate(NAME, days=0)
    for own in (former, own_certificate(tenant)):
        response = await ask(tenant, client, assertion(tenant, own))
        assert (response.status_code, response.json()["error_codes"]) == (401, [700027])
    tenant.renew_certificate(NAME)


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "another audience": ({"aud": "https://login.microsoftonline.com/x/oauth2/v2.0/token"}, 700023),
    "another issuer": ({"iss": "another"}, 700021),
    "another subject": ({"sub": "another"}, 700021),
    "over": ({"exp": 1_700_000_000}, 700024),
    "not yet": ({"nbf": 4_000_000_000, "exp": 4_100_000_000}, 700024),
    "no end": ({"exp": None}, 700024),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_an_assertion_that_says_something_else_is_rejected(
    tenant: LocalTenant, client: AsyncClient, kind: str
) -> None:
    """Well signed, and wrong in one claim (RFC 7523, section 3)."""
    changed, code = REFUSED[kind]
    response = await ask(tenant, client, assertion(tenant, own_certificate(tenant), changed))
    assert (response.status_code, response.json()["error_codes"]) == (401, [code])
    assert response.json()["error"] == "invalid_client"


async def test_an_assertion_that_is_not_signed_by_the_certificate_is_rejected(
    tenant: LocalTenant, client: AsyncClient
) -> None:
    """By another key, with no or another thumbprint, by a shared secret, not at all, or spoilt afterwards."""
    own = own_certificate(tenant)
    good = assertion(tenant, own)
    spoilt = [
        assertion(tenant, own, key=tenant.signing_keys[0].private),
        assertion(tenant, own, header={"x5t#S256": "x"}),
        assertion(tenant, own, header={"x5t#S256": None}),
        assertion(tenant, own, key=b"k" * 32, algorithm="HS256"),
        tenant.mint(
            jwt.decode(good, options={"verify_signature": False}), {"alg": "none", **jwt.get_unverified_header(good)}
        ),
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
    ]
    for each in spoilt:
        response = await ask(tenant, client, each)
        assert (response.status_code, response.json()["error_codes"]) == (401, [700027])
    assert (await ask(tenant, client, "not-a-jwt")).json()["error_codes"] == [50027]


async def test_one_way_of_authenticating_is_requested(tenant: LocalTenant, client: AsyncClient) -> None:
    """A secret beside an assertion, and a type that is not known, are errors; an application without a certificate has
    none that fits."""
    good = assertion(tenant, own_certificate(tenant))
    both = await ask(tenant, client, good, client_secret="x")
    other_type = await ask(tenant, client, good, client_assertion_type="urn:x")
    other_application = await ask(tenant, client, good, client_id=tenant.client_id)
    codes = [response.json()["error_codes"] for response in (both, other_type, other_application)]
    assert codes == [[90023], [900144], [700027]]


async def federated(tenant: LocalTenant, token: str, application: str = NAME) -> str:
    client_id = tenant.applications[application].client_id
    async with ClientAssertionCredential(tenant.tenant_id, client_id, lambda: token, **options(tenant)) as credential:
        return (await credential.get_token(f"{tenant.client_id}/.default")).token


async def test_anothers_token_signs_an_application_in(tenant: LocalTenant) -> None:
    """A managed identity's and a service account's, by the real client."""
    identity = tenant.token(SYSTEM_IDENTITY.name, audience=EXCHANGE_AUDIENCE)
    for token in (identity, tenant.service_account_token()):
        claims = jwt.decode(await federated(tenant, token), options={"verify_signature": False})
        assert claims["azp"] == tenant.applications[NAME].client_id
    assert await federated(tenant, tenant.service_account_token(), "postern")


async def test_a_token_that_no_federated_credential_names_is_rejected(tenant: LocalTenant) -> None:
    """By its issuer, subject, audience, times or signature."""
    header, claims, _ = tenant.service_account_token().split(".")
    refused = {
        (tenant.token(USER_IDENTITY.name, audience=EXCHANGE_AUDIENCE), NAME): 700213,
        (tenant.service_account_token("system:serviceaccount:other:other"), NAME): 700213,
        (tenant.service_account_token(), "nightly-report"): 70021,
        (tenant.token(SYSTEM_IDENTITY.name, audience=EXCHANGE_AUDIENCE), "postern"): 70021,
        (tenant.service_account_token(audience="api://postern"), NAME): 700212,
        (tenant.service_account_token(now=time.time() - 7200), NAME): 700024,
        (f"{header}.{claims}.{'A' * 342}", NAME): 700027,
    }
    for (token, application), code in refused.items():
        with pytest.raises(ClientAuthenticationError) as caught:
            await federated(tenant, token, application)
        response: Any = caught.value.response
        assert response.json()["error_codes"] == [code]
