"""Requests with `claims`, as a client makes them after a claims challenge: authentication contexts and capabilities."""

import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant
from postern.local_tenant.claims_request import requested
from postern.local_tenant.errors import EntraError
from tests.local_tenant.browser import Browser, answer
from tests.local_tenant.test_on_behalf_of import ask

pytestmark = pytest.mark.anyio

SCOPE = "openid offline_access api://postern-local/user_impersonation"


def wanted(context: str = "", *capabilities: str) -> str:
    """The parameter, as MSAL writes it."""
    acrs = {"acrs": {"essential": True, "value": context}} if context else {}
    xms_cc = {"xms_cc": {"values": list(capabilities)}} if capabilities else {}
    return json.dumps({"access_token": {**acrs, **xms_cc}})


def conditions(response: Response) -> tuple[Any, Any]:
    """`acrs` and `xms_cc` of the access token."""
    assert response.status_code == 200, response.text
    claims = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
    return claims.get("acrs"), claims.get("xms_cc")


@pytest.fixture
def browser(tenant: LocalTenant, client: AsyncClient) -> Browser:
    return Browser(tenant, client)


async def refresh(browser: Browser, token: str, **changes: str) -> Response:
    changes = {"grant_type": "refresh_token", "refresh_token": token, **changes}
    return await browser.exchange("", **changes)


async def test_a_sign_in_with_claims_meets_the_context_and_keeps_it(browser: Browser, tenant: LocalTenant):
    """A refresh goes on with what the sign-in met. Another context needs another sign-in."""
    scope = f"openid offline_access {tenant.audience}/user_impersonation"
    code = await browser.code("lisa", scope=scope, claims=wanted("c1", "cp1"))
    first = await browser.exchange(code)
    assert conditions(first) == (["c1"], ["cp1"])
    token = first.json()["refresh_token"]
    again = await refresh(browser, token)
    assert conditions(again) == (["c1"], ["cp1"])
    assert conditions(await refresh(browser, again.json()["refresh_token"], claims=wanted("c1"))) == (["c1"], ["cp1"])
    refused = await refresh(browser, token, claims=wanted("c2"))
    assert (refused.status_code, refused.json()["error"]) == (400, "interaction_required")
    assert (refused.json()["error_codes"], refused.json()["claims"]) == ([50076], wanted("c2"))


async def test_without_claims_there_is_neither(browser: Browser, tenant: LocalTenant):
    code = await browser.code("lisa", scope=f"openid {tenant.audience}/user_impersonation")
    assert conditions(await browser.exchange(code)) == (None, None)


async def test_an_exchange_on_behalf_of_a_caller_has_the_contexts_of_the_callers_sign_in(
    tenant: LocalTenant, client: AsyncClient
):
    strong = tenant.token("lisa", more={"acrs": ["c1"]})
    assert conditions(await ask(tenant, client, strong, claims=wanted("c1", "CP1"))) == (["c1"], ["CP1"])
    refused = await ask(tenant, client, tenant.token("lisa"), claims=wanted("c1"))
    assert (refused.json()["error"], refused.json()["claims"]) == ("interaction_required", wanted("c1"))


async def test_an_application_declares_capabilities_and_meets_no_context(tenant: LocalTenant, client: AsyncClient):
    form = {
        "grant_type": "client_credentials",
        "client_id": tenant.client_id,
        "client_secret": tenant.client_secret("postern"),
        "scope": f"{tenant.audience}/.default",
        "claims": wanted("c1", "cp1"),
    }
    answered = await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form)
    assert conditions(answered) == (None, ["cp1"])


@pytest.mark.parametrize("claims", ["x", "[]", '"c1"', "[" * 100_000])
async def test_claims_that_are_no_object_are_an_error(browser: Browser, claims: str):
    if len(claims) < 1000:
        assert answer(await browser.choose("lisa", claims=claims))["error"] == "invalid_request"
    with pytest.raises(EntraError):
        requested(claims)


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["acrs", "value", "values"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["access_token", "id_token"]), JSON))
def test_whatever_an_object_has_only_texts_are_taken(document: dict[str, Any]):
    found = requested(json.dumps(document))
    assert all(isinstance(each, str) for each in (*found.contexts, *found.capabilities))
