"""The on-behalf-of flow: what the token endpoint gives for a caller's token, and what it rejects."""

import time
from typing import Any

import jwt
import pytest

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant
from postern.local_tenant.directory import FOREIGN_TENANT_ID
from postern.local_tenant.on_behalf_of import CLAIMS, GRANT_TYPE

pytestmark = pytest.mark.anyio

GRAPH = "https://graph.microsoft.com"


async def ask(tenant: LocalTenant, client: AsyncClient, assertion: str, **changed: str) -> Response:
    form = {
        "grant_type": GRANT_TYPE,
        "requested_token_use": "on_behalf_of",
        "client_id": tenant.client_id,
        "client_secret": tenant.client_secret("postern"),
        "assertion": assertion,
        "scope": f"{GRAPH}/.default",
    }
    return await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form | changed)


def claims_of(response: Response) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("who", ["lisa", "gil"], ids=["member", "guest"])
async def test_a_person_s_token_is_exchanged_for_one_of_the_same_person(
    tenant: LocalTenant, client: AsyncClient, who: str, version: Any
) -> None:
    response = await ask(tenant, client, tenant.token(who, version=version))
    assert response.status_code == 200, response.text
    claims = claims_of(response)
    assert (claims["aud"], claims["oid"], claims["appid"]) == (GRAPH, tenant.people[who], tenant.client_id)


async def test_named_scopes_are_in_the_token(tenant: LocalTenant, client: AsyncClient) -> None:
    scopes = f"{GRAPH}/User.Read {GRAPH}/Mail.Read"
    response = await ask(tenant, client, tenant.token("lisa"), scope=scopes)
    assert claims_of(response)["scp"] == "User.Read Mail.Read"


def _tokens(tenant: LocalTenant) -> dict[str, str]:
    lisa = tenant.claims("lisa")
    return {
        "application": tenant.token("nightly-report"),
        "expired": tenant.token("lisa", expired=True),
        "other audience": tenant.token("lisa", wrong_audience=True),
        "Graph's": tenant.token("lisa", audience=GRAPH, version=1),
        "other tenant": tenant.token("lisa", other_tenant=True),
        "of nobody": tenant.mint(lisa | {"oid": FOREIGN_TENANT_ID}),
        "forged": tenant.token("lisa")[:-6] + "AAAAAA",
        "none": "none",
    }


@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("application", 7000114),
        ("expired", 500133),
        ("other audience", 500131),
        ("Graph's", 500131),
        ("other tenant", 50013),
        ("of nobody", 50034),
        ("forged", 50013),
        ("none", 50013),
    ],
)
async def test_other_tokens_are_rejected(tenant: LocalTenant, client: AsyncClient, which: str, code: int) -> None:
    response = await ask(tenant, client, _tokens(tenant)[which])
    assert (response.status_code, response.json()["error_codes"]) == (400, [code])
    assert response.json()["error"] == "invalid_grant"


async def test_a_token_from_before_a_revocation_is_rejected(tenant: LocalTenant, client: AsyncClient) -> None:
    token = tenant.token("lisa")
    tenant.sign_ins.revoke(tenant.people["lisa"], time.time())
    try:
        assert (await ask(tenant, client, token)).json()["error_codes"] == [50173]
        assert (await ask(tenant, client, tenant.token("ada"))).status_code == 200
    finally:
        tenant.sign_ins.revoked.clear()


async def test_an_application_exchanges_tokens_for_itself_only(tenant: LocalTenant, client: AsyncClient) -> None:
    other = tenant.applications["backup-job"]
    secret = tenant.client_secret("backup-job")
    response = await ask(tenant, client, tenant.token("lisa"), client_id=other.client_id, client_secret=secret)
    assert response.json()["error_codes"] == [500131]


@pytest.mark.parametrize(
    ("code", "error", "claims"),
    [(65001, "consent_required", None), (50013, "invalid_grant", None), (50076, "interaction_required", CLAIMS)],
)
async def test_refusals_are_switched_on(
    tenant: LocalTenant, client: AsyncClient, code: int, error: str, claims: str | None
) -> None:
    tenant.faults.on_behalf_of.refuse(code, times=1)
    found = (await ask(tenant, client, tenant.token("lisa"))).json()
    assert (found["error"], found["error_codes"], found.get("claims")) == (error, [code], claims)
    assert (await ask(tenant, client, tenant.token("lisa"))).status_code == 200


async def test_another_use_of_the_grant_is_rejected(tenant: LocalTenant, client: AsyncClient) -> None:
    response = await ask(tenant, client, tenant.token("lisa"), requested_token_use="other")
    assert response.json()["error_codes"] == [900144]
