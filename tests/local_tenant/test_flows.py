"""The stand-in for Power Automate's triggers: its checks, its error shapes, and answers that take their time."""

from typing import Any

import pytest

from postern.http_client import AsyncClient
from postern.local_tenant import LocalTenant
from postern.local_tenant.flow_addresses import FLOWS_AUDIENCE, flow_url
from postern.local_tenant.flows import RETRY_AFTER
from tests.local_tenant.test_http import bearer, credentials

pytestmark = pytest.mark.anyio

LEAVE = {"employee": "Ada Okafor", "days": 3}


def token(tenant: LocalTenant, who: str = "postern", audience: str = FLOWS_AUDIENCE, **more: Any) -> str:
    return tenant.token(who, audience=audience, version=1, **more)


async def test_entra_issues_tokens_for_exactly_the_audience_with_its_slash(
    tenant: LocalTenant, client: AsyncClient
) -> None:
    """The scope is the audience and /.default, so it has a double slash; with a single one the flow says no."""
    answers = {}
    for scope in ("https://service.flow.microsoft.com//.default", "https://service.flow.microsoft.com/.default"):
        form = credentials(tenant, "postern") | {"scope": scope}
        got = (await client.post(f"/{tenant.tenant_id}/oauth2/v2.0/token", data=form)).json()["access_token"]
        answers[scope.count("//")] = await client.post(flow_url(tenant, "holidays"), headers=bearer(got))
    assert (answers[2].status_code, answers[2].json()["holidays"][0]) == (200, "01-01")
    assert (answers[1].status_code, answers[1].json()["error"]["code"]) == (403, "MisMatchingOAuthClaims")


async def test_an_approval_is_answered_when_it_was_requested_twice(tenant: LocalTenant, client: AsyncClient) -> None:
    """202 with Location and Retry-After, then 202 again, then the answer, as often as it is polled."""
    headers = bearer(token(tenant))
    accepted = await client.post(flow_url(tenant, "approve-leave"), json=LEAVE, headers=headers)
    assert (accepted.status_code, accepted.headers["retry-after"]) == (202, str(RETRY_AFTER))
    where = accepted.headers["location"]
    assert where.startswith(f"{tenant.authority}/powerautomate/")
    polled = [await client.get(where) for _ in range(3)]
    assert [answer.status_code for answer in polled] == [202, 200, 200]
    assert polled[0].headers["location"] == where
    assert polled[1].json() == polled[2].json() == {"approved": True, "by": "Lisa Moreau", "comment": "Enjoy!"}
    runs = {answer.headers["x-ms-workflow-run-id"] for answer in [accepted, *polled]}
    assert len(runs) == 1


async def test_the_address_to_ask_takes_its_signature_and_nothing_else(
    tenant: LocalTenant, client: AsyncClient
) -> None:
    """As the real one: a token beside a signature is an error, and so is another signature."""
    headers = bearer(token(tenant))
    accepted = await client.post(flow_url(tenant, "approve-leave"), json=LEAVE, headers=headers)
    where = accepted.headers["location"]
    both = await client.get(where, headers=headers)
    forged = await client.get(where.partition("&sig=")[0] + "&sig=x")
    unknown = await client.get(where.replace("/runs/", "/runs/1"))
    codes = [(answer.status_code, answer.json()["error"]["code"]) for answer in (both, forged, unknown)]
    assert codes == [
        (401, "DirectApiAuthorizationRequired"),
        (401, "DirectApiInvalidAuthorization"),
        (401, "DirectApiInvalidAuthorization"),
    ]


@pytest.mark.parametrize(
    ("who", "more", "status", "code"),
    [
        ("postern", {"audience": "https://service.flow.microsoft.com"}, 403, "MisMatchingOAuthClaims"),
        ("postern", {"audience": "https://service.flow.microsoft.com//"}, 403, "MisMatchingOAuthClaims"),
        ("postern", {"audience": "api://postern"}, 403, "MisMatchingOAuthClaims"),
        ("postern", {"other_tenant": True}, 403, "MisMatchingOAuthClaims"),
        ("nightly-report", {}, 403, "MisMatchingOAuthClaims"),
        ("lisa", {}, 403, "MisMatchingOAuthClaims"),
        ("postern", {"expired": True}, 401, "InvalidAuthenticationToken"),
    ],
    ids=["no slash", "two slashes", "another API", "another tenant", "another app", "a person", "expired"],
)
async def test_a_token_that_does_not_fit_is_rejected(
    tenant: LocalTenant, client: AsyncClient, who: str, more: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.post(
        flow_url(tenant, "approve-leave"), json=LEAVE, headers=bearer(token(tenant, who, **more))
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_without_a_good_token_the_scheme_is_requested(tenant: LocalTenant, client: AsyncClient) -> None:
    """None, something else, and one that this tenant has not signed."""
    forged = tenant.mint(tenant.claims("postern", audience=FLOWS_AUDIENCE), {"alg": "HS256"}, b"k" * 32)
    answers = [
        await client.post(flow_url(tenant, "holidays"), headers=headers)
        for headers in ({}, {"Authorization": "Basic eDp5"}, bearer("not-a-token"), bearer(forged))
    ]
    assert [(answer.status_code, answer.headers["www-authenticate"]) for answer in answers] == [(401, "Bearer")] * 4
    codes = [answer.json()["error"]["code"] for answer in answers]
    assert codes == ["DirectApiAuthorizationRequired"] * 2 + ["InvalidAuthenticationToken"] * 2


async def test_a_flow_for_the_tenant_takes_people_and_applications(tenant: LocalTenant, client: AsyncClient) -> None:
    for who in ("ada", "backup-job"):
        answer = await client.post(flow_url(tenant, "holidays"), headers=bearer(token(tenant, who)))
        assert answer.status_code == 200


async def test_what_a_flow_cannot_use_is_reported(tenant: LocalTenant, client: AsyncClient) -> None:
    """A body of another form, another version of the API, and a flow that is not there."""
    headers, url = bearer(token(tenant)), flow_url(tenant, "approve-leave")
    answers = [
        await client.post(url, json={"days": 0}, headers=headers),
        await client.post(url, content=b"{", headers=headers),
        await client.post(url.replace("api-version=1", ""), json=LEAVE, headers=headers),
        await client.post(url.replace("workflows/4", "workflows/5"), json=LEAVE, headers=headers),
    ]
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
        (400, "TriggerInputSchemaMismatch"),
        (400, "TriggerInputSchemaMismatch"),
        (400, "InvalidApiVersionParameter"),
        (404, "WorkflowNotFound"),
    ]
