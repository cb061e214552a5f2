"""What the local tenant answers over HTTP, seen with the project's own client."""

import base64
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from postern.http_client import AsyncClient, HTTPError, http_client
from postern.local_tenant import LocalTenant
from postern.local_tenant.tenant import GRAPH_AUDIENCE
from postern.server import outgoing
from postern.server.protocol import GuardedProtocol

pytestmark = pytest.mark.anyio

FOREIGN = "00000000-0000-0000-0000-000000000009"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def credentials(tenant: LocalTenant, application: str = "nightly-report") -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": tenant.applications[application].client_id,
        "client_secret": tenant.client_secret(application),
        "scope": f"{tenant.client_id}/.default",
    }


async def test_discovery_leads_to_the_keys_that_verify_a_token(tenant: LocalTenant, client: AsyncClient) -> None:
    """Issuer and jwks_uri are on the authority, and a token verifies with what is published there."""
    metadata = (await client.get(f"/{tenant.tenant_id}/v2.0/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == f"{tenant.authority}/{tenant.tenant_id}/v2.0"
    assert metadata["jwks_uri"] == f"{tenant.authority}/{tenant.tenant_id}/discovery/v2.0/keys"
    assert metadata["token_endpoint"] == f"{tenant.authority}/{tenant.tenant_id}/oauth2/v2.0/token"
    published = (await client.get(metadata["jwks_uri"])).json()
    assert {key["issuer"] for key in published["keys"]} == {f"{tenant.authority}/{{tenantid}}/v2.0"}
    assert not {"d", "p", "q"} & {member for key in published["keys"] for member in key}
    token = tenant.token("lisa")
    key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=tenant.client_id, issuer=metadata["issuer"])
    assert claims["oid"] == tenant.people["lisa"]


@pytest.mark.parametrize("path", ["v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"])
async def test_an_unknown_tenant_is_reported(client: AsyncClient, path: str) -> None:
    """Discovery and keys of another tenant are 400 with AADSTS90002."""
    response = await client.get(f"/{FOREIGN}/{path}")
    assert response.status_code == 400
    assert response.json()["error_codes"] == [90002]


async def test_a_client_may_authenticate_by_basic(tenant: LocalTenant, client: AsyncClient) -> None:
    """Id and secret in the header work as those in the body do (RFC 6749, section 2.3.1)."""
    form = credentials(tenant)
    pair = f"{form.pop('client_id')}:{form.pop('client_secret')}"
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    response = await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form, headers=headers)
    assert response.status_code == 200
    assert response.headers["cache-control"].startswith("no-store")
    assert response.json()["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("change", "status", "error", "code"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"grant_type": ""}, 400, "invalid_request", 900144),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"scope": "api://a/.default api://b/.default"}, 400, "invalid_scope", 70011),
        ({"scope": "x" * 70_000}, 400, "invalid_request", 90014),
    ],
    ids=["grant", "no-grant", "no-client", "no-secret", "two-resources", "too-large"],
)
async def test_an_ill_formed_token_request_is_rejected(
    tenant: LocalTenant, client: AsyncClient, change: dict[str, str], status: int, error: str, code: int
) -> None:
    """Each of them has its own error, as Entra's token endpoint has."""
    response = await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=credentials(tenant) | change)
    assert (response.status_code, response.json()["error"], response.json()["error_codes"]) == (status, error, [code])


async def test_doubled_credentials_are_rejected(tenant: LocalTenant, client: AsyncClient) -> None:
    """Two ways of authenticating, and a parameter that stands twice, are errors rather than a choice."""
    url = f"/{tenant.tenant_id}/oauth2/v2.0/token"
    basic = {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}
    both = await client.post(url, data=credentials(tenant), headers=basic)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    twice = await client.post(url, content=b"grant_type=a&grant_type=b", headers=form)
    assert (both.json()["error_codes"], twice.json()["error_codes"]) == ([90023], [90023])


async def test_the_vault_challenges_callers_without_a_valid_token(
    tenant: LocalTenant, client: AsyncClient, clock: Any
) -> None:
    """No token, one for another audience, an expired one and a foreign tenant's get the challenge and no secret."""
    good = tenant.token("postern", audience=tenant.vault_resource, version=1)
    spoilt = [
        tenant.token("postern"),
        tenant.token("postern", audience=tenant.vault_resource, expired=True),
        tenant.token("postern", audience=tenant.vault_resource, other_tenant=True),
        tenant.mint(tenant.claims("postern", audience=tenant.vault_resource), {"alg": "none"}),
        tenant.mint(tenant.claims("postern", audience=tenant.vault_resource), {"alg": "HS256"}, b"k" * 32),
        "not-a-token",
    ]
    url = "/secrets/postern-client-secret/"
    assert (await client.get(url, headers=bearer(good))).status_code == 200
    for headers in [{}, *map(bearer, spoilt)]:
        response = await client.get(url, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == (
            f'Bearer authorization="{tenant.authority}/{tenant.tenant_id}", resource="{tenant.vault_resource}"'
        )
        assert tenant.client_secret("postern") not in response.text
    clock.ahead = 3601
    try:
        assert (await client.get(url, headers=bearer(good))).status_code == 401
    finally:
        clock.ahead = 0


async def test_a_person_cannot_read_the_vault(tenant: LocalTenant, client: AsyncClient) -> None:
    """Only Postern's own application has the right."""
    token = tenant.token("ada", audience=tenant.vault_resource)
    assert (await client.get("/secrets/postern-client-secret", headers=bearer(token))).status_code == 403


@pytest.mark.parametrize(
    ("beginning", "names"),
    [
        ("li", ["Lisa Moreau"]),
        ("LISA m", ["Lisa Moreau"]),
        ("o''", []),
        ("", ["Ada Okafor", "Lisa Moreau", "Gil Amaro"]),
    ],
)
async def test_graph_finds_people_by_the_beginning_of_their_name(
    tenant: LocalTenant, client: AsyncClient, beginning: str, names: list[str]
) -> None:
    """The case does not matter, and a doubled quote is one."""
    response = await client.get(
        f"{tenant.graph_url}/users",
        params={"$filter": f"startswith(displayName,'{beginning}')"},
        headers=bearer(tenant.token("postern", audience=GRAPH_AUDIENCE, version=1)),
    )
    assert response.status_code == 200
    found = response.json()["value"]
    assert [person["displayName"] for person in found] == names
    assert all(set(person) == {"id", "displayName", "mail", "userPrincipalName"} for person in found)


@pytest.mark.parametrize(
    "query",
    [
        {"$filter": "displayName eq 'Lisa'"},
        {"$filter": "startswith(displayName,'o'brien')"},
        {"$filter": "startswith(mail,'lisa')"},
        {"$filter": ""},
        {"$top": "1"},
    ],
    ids=["other-operator", "quote-not-doubled", "other-property", "empty", "other-parameter"],
)
async def test_graph_rejects_what_it_does_not_understand(
    tenant: LocalTenant, client: AsyncClient, query: dict[str, str]
) -> None:
    """A filter of any other form is 400, never all the people."""
    token = tenant.token("postern", audience=GRAPH_AUDIENCE)
    response = await client.get("/graph/v1.0/users", params=query, headers=bearer(token))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "BadRequest"


async def test_graph_needs_a_token_for_graph(tenant: LocalTenant, client: AsyncClient) -> None:
    """A token for Postern is not one for Graph, and neither are two fields."""
    good = tenant.token("postern", audience=GRAPH_AUDIENCE)
    doubled = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    for headers in ({}, bearer(tenant.token("postern")), doubled):
        response = await client.get("/graph/v1.0/users", headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "InvalidAuthenticationToken"


async def test_a_client_without_the_authority_is_rejected(tenant: LocalTenant) -> None:
    """The system's authorities do not vouch for the local tenant."""
    async with http_client(base_url=tenant.authority, timeout=10) as stranger:
        with pytest.raises(HTTPError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get("/")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_certificate_passes_strict_verification(tenant: LocalTenant, name: str) -> None:
    """OpenSSL's strict rules, Python's default from 3.13 on, hold for both names and no other."""
    context = ssl.create_default_context(cafile=tenant.ca_bundle)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = int(tenant.authority.rpartition(":")[2])

    def handshake(expected: str) -> str | None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=expected) as secured,
        ):
            return secured.version()

    assert handshake(name) in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake("login.microsoftonline.com")


def test_a_client_that_never_reads_is_cut_off(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the server itself. Each request waits until the client has read the response before it."""
    monkeypatch.setattr(GuardedProtocol, "write_seconds", 0.1)
    monkeypatch.setattr(outgoing, "LOOK_SECONDS", 0.05)
    address = urlsplit(tenant.authority)
    context = ssl.create_default_context(cafile=tenant.ca_bundle)
    request = f"GET /{tenant.tenant_id}/discovery/v2.0/keys HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(20)
        plain.connect((str(address.hostname), int(address.port or 0)))
        with context.wrap_socket(plain, server_hostname=address.hostname) as client:
            assert is_cut_off(client, request)


def is_cut_off(client: ssl.SSLSocket, request: bytes) -> bool:
    """Whether the server ends a connection on which requests come and nothing is read."""
    try:
        for _ in range(1000):
            client.sendall(request * 100)
    except (ConnectionError, ssl.SSLEOFError):
        return True
    return False
