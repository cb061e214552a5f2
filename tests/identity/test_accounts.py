"""Whose account was connected at Entra: of one tenant, or of several, proved by the keys of the same authority."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postern.access import Refused
from postern.clouds import CONSUMERS
from postern.errors import Problem
from postern.http_client import AsyncClient, http_client
from postern.identity.accounts import ADMITTED, MOST_TENANTS, PERSONAL, Accounts
from postern.identity.discovery import EntraFault
from postern.identity.id_token import Person
from postern.identity.issuers import CLOUDS
from tests.identity import minting
from tests.identity.minting import CLIENT, LISA, NOW, OTHER_ID, TENANT_ID, jwk, key_set
from tests.identity.test_discovery import Server, answer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TEMPLATE = "{tenantid}"
CLOUD = "https://login.microsoftonline.com"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as listening:
        made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for name in (TENANT_ID, OTHER_ID, CONSUMERS):
            publish(made, name)
        for name in ("organizations", "common"):
            publish(made, name, issuer=f"{made.url}/{TEMPLATE}/v2.0")
        yield made


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with http_client() as made:
        yield made


def publish(server: Server, name: str, *keys: dict[str, Any], **changes: Any) -> None:
    """The metadata and the keys below a name, as Entra has them: the keys are for several tenants."""
    at = f"{server.url}/{name}"
    document = {
        "issuer": f"{at}/v2.0",
        "jwks_uri": f"{at}/discovery/v2.0/keys",
        "authorization_endpoint": f"{at}/oauth2/v2.0/authorize",
        "token_endpoint": f"{at}/oauth2/v2.0/token",
        **changes,
    }
    published = keys or (jwk(issuer=f"{server.url}/{TEMPLATE}/v2.0"),)
    server.answers[f"/{name}/v2.0/.well-known/openid-configuration"] = answer(json.dumps(document).encode())
    server.answers[f"/{name}/discovery/v2.0/keys"] = answer(key_set(*published))


def accounts(server: Server, client: AsyncClient) -> Accounts:
    return Accounts(client, authority=server.url, now=lambda: NOW)


def token(server: Server, tenant: str = TENANT_ID, **changes: Any) -> str:
    claims = {
        "iss": f"{server.url}/{tenant}/v2.0",
        "aud": CLIENT,
        "tid": tenant,
        "ver": "2.0",
        "oid": LISA,
        "sub": "pairwise",
        "name": "Lisa Moreau",
        "nonce": "the-nonce",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 3600,
        **changes,
    }
    return minting.token({name: value for name, value in claims.items() if value is not ...})


async def verified(of: Accounts, text: str, tenant: str, *tenants: str) -> Person:
    return await of.verify(text, tenant=tenant, tenants=tenants, client_id=CLIENT.upper(), nonce="the-nonce")


async def failed(of: Accounts, text: str, tenant: str, *tenants: str) -> str:
    with pytest.raises(Refused) as raised:
        await verified(of, text, tenant, *tenants)
    return raised.value.failed.name


@pytest.mark.parametrize(
    ("tenant", "tenants", "of", "check"),
    [
        (TENANT_ID, (), TENANT_ID, ""),
        (TENANT_ID.upper(), (), TENANT_ID, ""),
        (TENANT_ID, (), OTHER_ID, ADMITTED),
        ("organizations", (), TENANT_ID, ""),
        ("organizations", (), OTHER_ID, ""),
        ("organizations", (OTHER_ID,), OTHER_ID, ""),
        ("organizations", (OTHER_ID,), TENANT_ID, ADMITTED),
        ("organizations", (), CONSUMERS, PERSONAL),
        ("common", (), TENANT_ID, ""),
        ("common", (), CONSUMERS, ""),
        ("common", (CONSUMERS,), CONSUMERS, ""),
        ("common", (TENANT_ID,), CONSUMERS, ADMITTED),
        (CONSUMERS, (), CONSUMERS, ""),
        (TENANT_ID, (), CONSUMERS, PERSONAL),
    ],
)
async def test_which_tenants_may_connect(
    server: Server, client: AsyncClient, tenant: str, tenants: tuple[str, ...], of: str, check: str
):
    """Personal accounts come by `common` only, and an entry may name the tenants that it admits."""
    made = accounts(server, client)
    if check:
        assert await failed(made, token(server, of), tenant, *tenants) == check
        assert server.requests == []
    else:
        assert await verified(made, token(server, of), tenant, *tenants) == Person(of, LISA, "Lisa Moreau", frozenset())


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": f"{CLOUD}/{TEMPLATE}/v2.0"}, "issuer"),
        ({"iss": "{url}/{tenantid}/v2.0"}, "issuer"),
        ({"iss": "{url}/" + OTHER_ID + "/v2.0"}, "issuer"),
        ({"iss": "https://evil.example/" + TENANT_ID + "/v2.0"}, "issuer"),
        ({"iss": ...}, "issuer"),
        ({"tid": ...}, ADMITTED),
        ({"tid": "organizations"}, ADMITTED),
        ({"tid": TEMPLATE}, ADMITTED),
        ({"tid": TENANT_ID.upper()}, ADMITTED),
        ({"tid": [TENANT_ID]}, ADMITTED),
        ({"tid": f"{TENANT_ID}/../{OTHER_ID}"}, ADMITTED),
        ({"aud": OTHER_ID}, "client"),
        ({"nonce": "other"}, "nonce"),
        ({"nonce": ...}, "nonce"),
        ({"exp": NOW - 61}, "expiry"),
        ({"oid": ...}, "object-id"),
        ({"azp": CLIENT}, "id-token"),
        ({"ver": "1.0"}, "version"),
    ],
)
async def test_a_token_that_breaks_a_rule_connects_nothing(
    server: Server, client: AsyncClient, changes: dict[str, Any], check: str
):
    written = {
        name: value.replace("{url}", server.url) if isinstance(value, str) else value for name, value in changes.items()
    }
    assert await failed(accounts(server, client), token(server, **written), "organizations") == check


@pytest.mark.parametrize(
    ("issuer", "passes"),
    [
        ("{url}/{tenantid}/v2.0", True),
        ("{url}/" + TENANT_ID + "/v2.0", True),
        ("{url}/" + OTHER_ID + "/v2.0", False),
        ("{url}/" + CONSUMERS + "/v2.0", False),
        ("https://evil.example/{tenantid}/v2.0", False),
    ],
)
async def test_a_key_signs_for_its_own_issuer_only(server: Server, client: AsyncClient, issuer: str, passes: bool):
    """A key of another tenant, or of personal accounts, signs nothing for this tenant."""
    publish(server, TENANT_ID, jwk(issuer=issuer.replace("{url}", server.url)), jwk("other", "other-key"))
    of = accounts(server, client)
    if passes:
        await verified(of, token(server), "organizations")
    else:
        assert await failed(of, token(server), "organizations") == "key-published"


async def test_a_token_signed_by_another_key_connects_nothing(server: Server, client: AsyncClient):
    forged = minting.token(
        minting.claims(azp=..., scp=..., aud=CLIENT, iss=f"{server.url}/{TENANT_ID}/v2.0"), by="other"
    )
    assert await failed(accounts(server, client), forged, "organizations") == "signature"


async def test_keys_are_fetched_once_for_each_tenant_and_are_of_the_authority(server: Server, client: AsyncClient):
    of = accounts(server, client)
    for _ in range(2):
        for tenant in (TENANT_ID, OTHER_ID):
            await verified(of, token(server, tenant), "organizations")
    paths = [head.split()[1].decode() for head in server.requests]
    expected = [
        f"/{tenant}/{page}"
        for tenant in (TENANT_ID, OTHER_ID)
        for page in ("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys")
    ]
    assert paths == expected


async def test_the_tenants_whose_keys_are_kept_are_bounded(server: Server, client: AsyncClient):
    of = accounts(server, client)
    for number in range(MOST_TENANTS + 5):
        with pytest.raises(Problem):
            await verified(of, token(server, f"{number:08d}-bbbb-4222-8222-222222222222"), "organizations")
    assert len(of._keys) == MOST_TENANTS


async def test_without_keys_nothing_is_decided(server: Server, client: AsyncClient):
    server.answers.clear()
    with pytest.raises(Problem) as raised:
        await verified(accounts(server, client), token(server), "common")
    assert raised.value.code == "identity-unavailable"


@pytest.mark.parametrize("tenant", [TENANT_ID, "organizations", "common"])
async def test_the_endpoints_are_those_of_the_name_that_people_sign_in_at(
    server: Server, client: AsyncClient, tenant: str
):
    found = await accounts(server, client).endpoints(tenant)
    assert (found.authorization, found.token) == (
        f"{server.url}/{tenant}/oauth2/v2.0/authorize",
        f"{server.url}/{tenant}/oauth2/v2.0/token",
    )


@pytest.mark.parametrize(
    "issuer",
    [None, 5, [TEMPLATE], "", "{url}/organizations/v2.0", "{url}/" + TENANT_ID + "/v2.0", "https://evil.example/{tenantid}/v2.0",
     "{url}/{tenantid}/v2.0/", "{url}/{tenantid}/"],
)  # fmt: skip
async def test_the_metadata_of_several_tenants_has_the_template_literally(
    server: Server, client: AsyncClient, issuer: Any
):
    written = issuer.replace("{url}", server.url) if isinstance(issuer, str) else issuer
    publish(server, "organizations", issuer=written)
    with pytest.raises(EntraFault, match="another issuer"):
        await accounts(server, client).endpoints("organizations")


async def test_endpoints_elsewhere_are_rejected(server: Server, client: AsyncClient):
    issuer = f"{CLOUD}/{TEMPLATE}/v2.0"  # a mirror has the cloud's own
    publish(server, "common", issuer=issuer)
    await accounts(server, client).endpoints("common")
    publish(server, "common", issuer=issuer, token_endpoint="https://evil.example/token")
    with pytest.raises(EntraFault, match="not at the authority"):
        await accounts(server, client).endpoints("common")


@pytest.mark.parametrize("tenant", ["", "contoso.example", "..", "organizations/x"])
async def test_what_is_no_tenant_has_no_endpoints(server: Server, client: AsyncClient, tenant: str):
    with pytest.raises(ValueError, match="a tenant id is a GUID"):
        await accounts(server, client).endpoints(tenant)
    assert server.requests == []


@pytest.mark.parametrize(
    ("iss", "tenant", "same"),
    [
        (f"{CLOUD}/{TENANT_ID}/v2.0", TENANT_ID, True),
        (f"{CLOUD}/{OTHER_ID}/v2.0", TENANT_ID, False),
        (f"{CLOUD}/{OTHER_ID}/v2.0", "organizations", True),
        (f"{CLOUD}/{OTHER_ID}/v2.0", "common", True),
        (f"{CLOUD}/{TEMPLATE}/v2.0", "common", False),
        (f"{CLOUD}/{OTHER_ID}/v2.0/", "common", False),
        (f"{CLOUD}/{OTHER_ID}/x/v2.0", "common", False),
        (f"https://evil.example/{OTHER_ID}/v2.0", "common", False),
        ("", "common", False),
    ],
)
async def test_an_issuer_of_several_tenants_is_one_of_them(client: AsyncClient, iss: str, tenant: str, same: bool):
    assert Accounts(client).issues(iss, tenant) is same


@pytest.mark.parametrize("cloud", CLOUDS)
async def test_the_tenants_of_a_cloud_are_those_of_its_own_authority(client: AsyncClient, cloud: str):
    of = Accounts(client, cloud)
    passed = [name for name, each in CLOUDS.items() if of.issues(f"{each.authority}/{OTHER_ID}/v2.0", "organizations")]
    assert passed == [cloud]
