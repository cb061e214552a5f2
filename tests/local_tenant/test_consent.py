"""People allow or decline at the local tenant what an application asks for, and their grants are refused on demand."""

import json
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant, TenantFault
from postern.local_tenant.refusals import REFUSALS_FILE
from postern.local_tenant.scopes import asks_for_consent
from tests.local_tenant.browser import Browser, answer

pytestmark = pytest.mark.anyio

CONNECTION = "http://127.0.0.1:8080/connect/my-profile/callback"
SCOPES = "User.Read offline_access openid profile"


@pytest.fixture
def browser(tenant: LocalTenant, client: AsyncClient) -> Iterator[Browser]:
    yield Browser(tenant, client)
    tenant.refusals.switch_off()


async def connected(browser: Browser, person: str = "lisa", scope: str = SCOPES) -> dict[str, Any]:
    """The tokens after a consent."""
    response = await browser.exchange(await browser.code(person, scope=scope))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def refreshed(browser: Browser, token: str) -> Response:
    changes = {"code": ..., "code_verifier": ..., "redirect_uri": ..., "refresh_token": token}
    return await browser.exchange("", grant_type="refresh_token", **changes)


async def me(browser: Browser, token: str) -> Response:
    return await browser.client.get("/graph/v1.0/me", headers={"Authorization": f"Bearer {token}"})


async def test_the_second_page_names_application_person_and_scopes_and_has_two_buttons(browser: Browser) -> None:
    """And no script, nor anything else of the request."""
    page = await browser.choose("lisa", scope=f"{SCOPES} <b>", state="the-state-of-it")
    assert page.status_code == 200
    text = unescape(page.text)
    for said in ("postern asks for your permission", "Lisa Moreau (lisa@tenant.example)", *SCOPES.split()):
        assert said in text
    assert "Maintain access to data you have given it access to" in text
    assert page.text.count("<button") == 2
    assert "&lt;b&gt;" in page.text
    assert not {"<script", "<b>", "the-state-of-it"} & set(page.text.split())
    assert "the-state-of-it" not in page.text


async def test_allow_sends_the_person_back_with_a_code_and_cancel_with_access_denied(browser: Browser) -> None:
    allowed = answer(await browser.allow("lisa", scope=SCOPES, redirect_uri=CONNECTION), CONNECTION)
    assert allowed.keys() == {"code", "state", "session_state"}
    form = {"person": "lisa", "consent": ""}
    declined = answer(await browser.click(form, scope=SCOPES, redirect_uri=CONNECTION), CONNECTION)
    assert (declined["error"], declined["error_description"][:12]) == ("access_denied", "AADSTS65004:")
    assert "code" not in declined


@pytest.mark.parametrize(
    ("scope", "asks"),
    [("openid", False), ("openid profile email", False), ("openid offline_access", True), ("User.Read", True)],
)
def test_signing_in_alone_needs_no_consent(scope: str, asks: bool) -> None:
    assert asks_for_consent(scope) is asks


@pytest.mark.parametrize(("prompt", "status"), [("login", 303), ("select_account", 303), ("consent", 200)])
async def test_a_prompt_for_consent_shows_the_page_in_any_case(browser: Browser, prompt: str, status: int) -> None:
    assert (await browser.choose("lisa", prompt=prompt)).status_code == status


async def test_an_unknown_prompt_is_an_error_of_the_application(browser: Browser) -> None:
    assert answer(await browser.page(prompt="later"))["error_description"].startswith("AADSTS90023: ")


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, "ada"),
        ({"login_hint": "LISA@tenant.example"}, "lisa"),
        ({"login_hint": "gil@partner.example"}, "gil"),
        ({"login_hint": "gil_partner.example#EXT#@tenant.example"}, "gil"),
        ({"login_hint": "mallory@tenant.example"}, "ada"),
        ({"login_hint": "lisa@tenant.example", "prompt": "select_account"}, "ada"),
    ],
    ids=str,
)
async def test_the_person_of_the_hint_comes_first(browser: Browser, changes: dict[str, str], first: str) -> None:
    page = await browser.page(**changes)
    assert page.text.partition('name="person" value="')[2].startswith(f'{first}"')


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:8080/connect/other/callback",
        "http://127.0.0.1:8080/connect/my-profile/callback/",
        "http://127.0.0.1:8080/connect/my-profile",
        "http://127.0.0.1:8080/connect/my-profile/callback?x=1",
    ],
)
async def test_a_connection_has_exactly_its_own_redirect_uri(browser: Browser, uri: str) -> None:
    page = await browser.page(scope=SCOPES, redirect_uri=uri)
    assert (page.status_code, "AADSTS50011<" in page.text) == (400, True)


async def test_the_response_names_the_granted_scopes_without_offline_access(browser: Browser) -> None:
    """As at Entra, where the refresh token itself shows that it was granted."""
    tokens = await connected(browser)
    assert tokens["scope"] == "User.Read openid profile"
    assert tokens["refresh_token"]
    assert (await refreshed(browser, tokens["refresh_token"])).json()["scope"] == "User.Read openid profile"


async def test_me_is_the_person_who_consented(tenant: LocalTenant, browser: Browser) -> None:
    found = (await me(browser, (await connected(browser))["access_token"])).json()
    assert {name: found[name] for name in ("id", "displayName", "mail")} == {
        "id": tenant.people["lisa"],
        "displayName": "Lisa Moreau",
        "mail": "lisa@tenant.example",
    }


async def test_me_needs_a_token_of_a_person_for_graph_with_the_scope(tenant: LocalTenant, browser: Browser) -> None:
    graph = "https://graph.microsoft.com"
    application = tenant.token("postern", audience=graph, version=1)
    other_scope = (await connected(browser, scope="Mail.Read"))["access_token"]
    answers = [await me(browser, token) for token in (tenant.token("lisa"), application, other_scope)]
    assert [(each.status_code, each.json()["error"]["code"]) for each in answers] == [
        (401, "InvalidAuthenticationToken"),
        (400, "BadRequest"),
        (403, "Authorization_RequestDenied"),
    ]


@pytest.mark.parametrize(
    ("code", "error", "has_claims", "me_answers"),
    [
        (50173, "invalid_grant", False, 401),
        (700082, "invalid_grant", False, 200),
        (50076, "interaction_required", True, 401),
    ],
)
async def test_a_refusal_is_for_one_person_until_they_sign_in_again(
    tenant: LocalTenant, browser: Browser, clock: Any, code: int, error: str, has_claims: bool, me_answers: int
) -> None:
    """Those that Graph learns of end the access token too."""
    before, of_ada = await connected(browser), await connected(browser, "ada")
    tenant.refusals.switch_on("lisa", code, clock())
    refused = await refreshed(browser, before["refresh_token"])
    document = refused.json()
    assert (refused.status_code, document["error"], document["error_codes"]) == (400, error, [code])
    assert ("claims" in document) is has_claims
    assert not has_claims or json.loads(document["claims"])["access_token"]["capolids"]["essential"]
    assert (await me(browser, before["access_token"])).status_code == me_answers
    again = await connected(browser)
    for tokens in (of_ada, again):
        assert (await refreshed(browser, tokens["refresh_token"])).status_code == 200
        assert (await me(browser, tokens["access_token"])).status_code == 200


async def test_refusals_are_kept_and_a_damaged_file_says_what_to_write(tenant: LocalTenant, browser: Browser) -> None:
    tenant.refusals.switch_on("lisa", 50173, 100.0)
    tenant.refusals.switch_on("gil", 700082, 200.0)
    there = LocalTenant.open(tenant.folder).refusals
    assert [there.of(*each) for each in (("lisa", 200.0), ("gil", 1.0), ("gil", 200.5), ("ada", 1.0))] == [
        50173,
        700082,
        0,
        0,
    ]
    path = tenant.folder / REFUSALS_FILE
    for damaged in ("{", "[]", '{"lisa": "50173"}', '{"lisa": true}'):
        path.write_text(damaged)
        with pytest.raises(TenantFault, match="write names with AADSTS codes"):
            there.of("lisa", 1.0)
    there.switch_off()
    assert there.of("lisa", 1.0) == 0
