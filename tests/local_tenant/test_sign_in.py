"""People sign in at the local tenant as at Entra: authorization code with PKCE, refresh, sign-out, and its errors."""

import asyncio
import base64
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from httpx2 import ASGITransport
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant, TenantFault, serve
from postern.local_tenant.app import create_sign_in_app
from postern.local_tenant.grants import CODE_SECONDS, KEY_FILE, REFRESH_SECONDS, Grant, opened, sealed
from postern.local_tenant.redirect_uris import is_registered
from postern.local_tenant.state import STATE_FILE
from postern.local_tenant.tenant import GRAPH_AUDIENCE
from tests.examples import example_count
from tests.local_tenant.browser import CALLBACK, Browser, answer
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def browser(tenant: LocalTenant, client: AsyncClient) -> Browser:
    return Browser(tenant, client)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def error(response: Response) -> tuple[int, str, int]:
    document = response.json()
    return response.status_code, document["error"], *document["error_codes"]


async def test_discovery_names_pages_over_http_on_loopback_and_the_token_endpoint_over_https(
    tenant: LocalTenant, browser: Browser
) -> None:
    found = await browser.metadata()
    assert tenant.sign_in_url.startswith("http://127.0.0.1:")
    assert found["authorization_endpoint"] == f"{tenant.sign_in_url}/{tenant.tenant_id}/oauth2/v2.0/authorize"
    assert found["end_session_endpoint"] == f"{tenant.sign_in_url}/{tenant.tenant_id}/oauth2/v2.0/logout"
    assert found["token_endpoint"].startswith(tenant.authority)
    assert "authorization_response_iss_parameter_supported" not in found


async def test_the_page_shows_ada_lisa_and_gil_with_a_button_each(browser: Browser) -> None:
    """Ada is an operator. Nothing of the request is on the page, which nobody may frame and which runs no script."""
    response = await browser.page(state="<script>", nonce="a-nonce")
    assert response.status_code == 200
    for person in ("ada", "lisa", "gil"):
        assert f'<button name="person" value="{person}">' in response.text
    assert "ada@tenant.example, Postern.Operator<" in response.text
    assert "gil@partner.example, guest<" in response.text
    assert "script" not in response.text
    assert "a-nonce" not in response.text
    assert response.headers["cache-control"] == "no-store"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action" not in policy  # Chromium would stop the redirect to the application
    style = response.text.partition("<style>")[2].partition("</style>")[0]
    assert f"style-src 'sha256-{base64.b64encode(sha256(style.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize(
    ("person", "roles"), [("ada", ["Postern.Operator"]), ("lisa", None), ("gil", None)], ids=["ada", "lisa", "gil"]
)
async def test_one_click_signs_a_person_in(tenant: LocalTenant, browser: Browser, person: str, roles: Any) -> None:
    """The browser comes back with code and state and without `iss`; the ID token has Entra's claims and no hashes."""
    back = answer(await browser.choose(person))
    assert back.keys() == {"code", "state", "session_state"}
    assert back["state"] == "the-state"
    response = await browser.exchange(back["code"])
    assert response.status_code == 200
    assert response.headers["cache-control"].startswith("no-store")
    tokens = response.json()
    assert tokens.keys() == {"token_type", "scope", "expires_in", "ext_expires_in", "access_token", "id_token"}
    published = jwt.PyJWKSet.from_dict(tenant.jwks())
    key = published[jwt.get_unverified_header(tokens["id_token"])["kid"]]
    claims = jwt.decode(
        tokens["id_token"], key, algorithms=["RS256"], audience=tenant.client_id, issuer=tenant.issuers[1]
    )
    assert {name: claims.get(name) for name in ("oid", "tid", "nonce", "ver", "roles")} == {
        "oid": tenant.people[person],
        "tid": tenant.tenant_id,
        "nonce": "the-nonce",
        "ver": "2.0",
        "roles": roles,
    }
    assert not {"at_hash", "c_hash", "azp", "appid", "scp", "idtyp"} & claims.keys()
    assert ("idp" in claims) is (person == "gil")


async def test_claims_follow_the_scopes(browser: Browser) -> None:
    """`oid`, `name` and `preferred_username` need `profile`; without `openid` there is no ID token, and without
    `offline_access` no refresh token."""

    async def tokens(scope: str) -> dict[str, Any]:
        found: dict[str, Any] = (await browser.exchange(await browser.code(scope=scope))).json()
        return found

    named = {"oid", "name", "preferred_username", "email"}
    assert claims_of((await tokens("openid"))["id_token"]).keys() & named == set()
    assert claims_of((await tokens("openid profile email"))["id_token"]).keys() & named == named
    assert (await tokens("User.Read")).keys() & {"id_token", "refresh_token"} == set()
    assert "refresh_token" in await tokens("openid offline_access")


async def test_the_access_token_is_for_the_resource_of_the_scopes(tenant: LocalTenant, browser: Browser) -> None:
    """It names the application that requested it, and at Postern the person's app roles."""

    async def access(scope: str) -> dict[str, Any]:
        return claims_of((await browser.exchange(await browser.code(scope=scope))).json()["access_token"])

    graph = await access("openid profile")
    assert (graph["aud"], graph["scp"], graph["appid"], "roles" in graph) == (
        GRAPH_AUDIENCE,
        "User.Read",
        tenant.client_id,
        False,
    )
    own = await access(f"{tenant.client_id}/user_impersonation openid")
    assert (own["aud"], own["scp"], own["azp"], own["azpacr"], own["roles"]) == (
        tenant.client_id,
        "user_impersonation",
        tenant.client_id,
        "1",
        ["Postern.Operator"],
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": ...}, 900144),
        ({"client_id": "00000000-0000-0000-0000-000000000009"}, 700016),
        ({"redirect_uri": ...}, 50011),
        ({"redirect_uri": "https://evil.test/console/callback"}, 50011),
        ({"redirect_uri": CALLBACK + "/"}, 50011),
        ({"redirect_uri": CALLBACK + "?to=x"}, 50011),
    ],
    ids=["no-client", "unknown-client", "no-uri", "other-host", "other-path", "query"],
)
async def test_without_a_known_application_and_address_the_error_is_a_page(
    browser: Browser, changes: dict[str, Any], code: int
) -> None:
    """Nobody is sent anywhere, neither before nor after the click, and the request is not repeated on the page."""
    for response in (await browser.page(**changes), await browser.choose("ada", **changes)):
        assert response.status_code == 400
        assert f"AADSTS{code}</strong>" in response.text
        assert "location" not in response.headers
        assert "evil" not in response.text


async def test_another_tenant_and_a_doubled_parameter_are_pages_too(
    tenant: LocalTenant, client: AsyncClient, browser: Browser
) -> None:
    at = (await browser.metadata())["authorization_endpoint"]
    other = at.replace(tenant.tenant_id, "00000000-0000-0000-0000-000000000009")
    pairs = [*browser.parameters().items()]
    assert "AADSTS90002<" in (await client.get(other, params=tuple(pairs))).text
    assert "AADSTS90002<" in (await client.get(other.replace("authorize", "logout"))).text
    assert "AADSTS90023<" in (await client.get(at, params=(*pairs, ("state", "x")))).text


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"response_type": "id_token"}, "unsupported_response_type", 70005),
        ({"response_mode": "form_post"}, "invalid_request", 70007),
        ({"code_challenge": ...}, "invalid_request", 501491),
        ({"code_challenge": "short"}, "invalid_request", 501491),
        ({"code_challenge_method": "plain"}, "invalid_request", 9002325),
        ({"code_challenge_method": ...}, "invalid_request", 9002325),
        ({"scope": ...}, "invalid_request", 900144),
        ({"scope": "api://postern/a User.Read"}, "invalid_request", 28000),
        ({"scope": "api://nothing/a"}, "invalid_resource", 500011),
        ({"prompt": "none"}, "login_required", 50058),
    ],
    ids=lambda case: str(case)[:40],
)
async def test_other_errors_go_to_the_application_with_the_state(
    browser: Browser, changes: dict[str, Any], error: str, code: int
) -> None:
    for response in (await browser.page(**changes), await browser.choose("ada", **changes)):
        back = answer(response)
        assert back.keys() == {"error", "error_description", "error_uri", "state"}
        assert (back["error"], back["state"]) == (error, "the-state")
        assert back["error_description"].startswith(f"AADSTS{code}: ")


async def test_cancelling_is_access_denied_and_an_unknown_person_an_error(browser: Browser) -> None:
    declined, unknown = [answer(await browser.choose(person)) for person in ("", "mallory")]
    assert (declined["error"], declined["error_description"][:12]) == ("access_denied", "AADSTS65004:")
    assert unknown["error_description"].startswith("AADSTS50034:")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (50105, "access_denied"),
        (65001, "consent_required"),
        (50076, "interaction_required"),
        (90094, "consent_required"),
    ],
)
async def test_what_an_administrator_decides_can_be_switched_on(
    tenant: LocalTenant, browser: Browser, code: int, error: str
) -> None:
    """At the sign-in, and at the token endpoint."""
    tenant.faults.sign_in.refuse(code, times=1)
    assert answer(await browser.choose("ada"))["error_description"].startswith(f"AADSTS{code}: ")
    good = await browser.code()
    tenant.faults.entra.refuse(code, times=1)
    assert (await browser.exchange(good)).json()["error"] == error
    assert (await browser.exchange(good)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"code": "none-of-ours"}, (400, "invalid_request", 9002313)),
        ({"code": ...}, (400, "invalid_request", 9002313)),
        ({"redirect_uri": CALLBACK.replace("8080", "8081")}, (400, "invalid_grant", 500112)),
        ({"redirect_uri": ...}, (400, "invalid_grant", 500112)),
        ({"code_verifier": "v" * 43}, (400, "invalid_grant", 501481)),
        ({"code_verifier": ...}, (400, "invalid_grant", 501481)),
        ({"code_verifier": "é"}, (400, "invalid_grant", 501481)),
        ({"client_secret": "wrong"}, (401, "invalid_client", 7000215)),
        ({"client_id": "00000000-0000-0000-0000-000000000009"}, (400, "unauthorized_client", 700016)),
    ],
    ids=lambda case: str(case)[:40],
)
async def test_a_code_is_good_for_its_own_request_only(
    browser: Browser, changes: dict[str, Any], expected: tuple[int, str, int]
) -> None:
    """And a failed exchange does not use it up."""
    code = await browser.code()
    assert error(await browser.exchange(code, **changes)) == expected
    assert (await browser.exchange(code)).status_code == 200


async def test_a_code_is_used_once_by_its_application_within_ten_minutes(
    tenant: LocalTenant, browser: Browser, clock: Any
) -> None:
    code = await browser.code()
    other = {
        "client_id": tenant.applications["backup-job"].client_id,
        "client_secret": tenant.client_secret("backup-job"),
    }
    assert error(await browser.exchange(code, **other)) == (400, "invalid_grant", 70000)
    late = await browser.code()
    assert (await browser.exchange(code)).status_code == 200
    assert error(await browser.exchange(code)) == (400, "invalid_grant", 54005)
    clock.ahead = CODE_SECONDS
    try:
        assert error(await browser.exchange(late)) == (400, "invalid_grant", 70008)
    finally:
        clock.ahead = 0


async def test_a_page_of_another_origin_cannot_use_a_secret(tenant: LocalTenant, browser: Browser) -> None:
    form = {"grant_type": "authorization_code", "code": await browser.code()}
    url = f"/{tenant.tenant_id}/oauth2/v2.0/token"
    response = await browser.client.post(url, data=form, headers={"Origin": "https://evil.test"})
    assert error(response) == (400, "invalid_request", 9002326)


async def refreshed(browser: Browser, token: str, **changes: Any) -> Response:
    more = {"code": ..., "code_verifier": ..., "redirect_uri": ..., "refresh_token": token, **changes}
    return await browser.exchange("", grant_type="refresh_token", **more)


async def test_a_refresh_token_gets_a_successor_and_stays_valid(tenant: LocalTenant, browser: Browser) -> None:
    """It is bound to person and application, but to no resource."""
    scope = "openid profile offline_access"
    first = (await browser.exchange(await browser.code("lisa", scope=scope))).json()["refresh_token"]
    second = (await refreshed(browser, first)).json()
    assert claims_of(second["id_token"])["oid"] == tenant.people["lisa"]
    assert second["refresh_token"] != first
    for token in (first, second["refresh_token"]):
        elsewhere = (await refreshed(browser, token, scope=f"{tenant.client_id}/x")).json()
        assert claims_of(elsewhere["access_token"])["aud"] == tenant.client_id
    other = {
        "client_id": tenant.applications["backup-job"].client_id,
        "client_secret": tenant.client_secret("backup-job"),
    }
    assert error(await refreshed(browser, first, **other)) == (400, "invalid_grant", 70000)
    assert error(await refreshed(browser, await browser.code())) == (400, "invalid_request", 9002313)
    assert error(await browser.exchange(first)) == (400, "invalid_request", 9002313)


async def test_a_refresh_token_ends_by_revocation_and_by_ninety_days(
    tenant: LocalTenant, browser: Browser, clock: Any
) -> None:
    async def token() -> str:
        code = await browser.code("gil", scope="openid offline_access")
        found: str = (await browser.exchange(code)).json()["refresh_token"]
        return found

    first = await token()
    tenant.refusals.switch_on("gil", 50173, clock())
    assert error(await refreshed(browser, first)) == (400, "invalid_grant", 50173)
    second = await token()
    assert (await refreshed(browser, second)).status_code == 200
    tenant.refusals.switch_off()
    clock.ahead = REFRESH_SECONDS
    try:
        assert error(await refreshed(browser, second)) == (400, "invalid_grant", 700082)
    finally:
        clock.ahead = 0


async def test_signing_out_goes_back_to_a_registered_address_only(tenant: LocalTenant, browser: Browser) -> None:
    end = (await browser.metadata())["end_session_endpoint"]

    async def ended(**parameters: str) -> Response:
        return await browser.client.get(end, params=parameters)

    back = "http://127.0.0.1:8080/console/signed-out"
    assert answer(await ended(post_logout_redirect_uri=back, state="s"), back) == {"state": "s"}
    for other in ("", "https://evil.test/", back + "/x"):
        response = await ended(post_logout_redirect_uri=other)
        assert (response.status_code, "You signed out" in response.text) == (200, True)
        assert "evil" not in response.text


async def test_the_address_of_the_server_beside_the_tenant_is_registered(tenant: LocalTenant, browser: Browser) -> None:
    """With its path, and those that a test adds."""
    uri = "https://postern.test/flows/console/callback"
    assert (await browser.choose("ada", redirect_uri=uri)).status_code == 400
    tenant.set_server_url("https://postern.test/flows/")
    assert answer(await browser.choose("ada", redirect_uri=uri), uri).keys() >= {"code"}
    tenant.set_server_url("")
    tenant.sign_ins.redirect_uris.add("https://postern.test/connect")
    assert (await browser.choose("ada", redirect_uri="https://postern.test/connect")).status_code == 303


async def test_the_pages_answer_under_their_own_host_only(tenant: LocalTenant, browser: Browser) -> None:
    """A name of another site that leads to loopback gets nothing."""
    at = (await browser.metadata())["authorization_endpoint"]
    response = await browser.client.get(at, params=browser.parameters(), headers={"Host": "evil.test"})
    assert response.status_code == 400
    assert "ada" not in response.text
    away = await browser.client.get(f"/{tenant.tenant_id}/oauth2/v2.0/authorize", params=browser.parameters())
    assert away.status_code == 404


REGISTERED = ("http://localhost/console/callback", "http://127.0.0.1/console/callback", "https://a.test/x")


@table(
    ("given", "known"),
    [
        ("http://localhost/console/callback", True),
        ("http://localhost:8080/console/callback", True),
        ("http://127.0.0.1:9/console/callback", True),
        ("https://a.test/x", True),
        ("https://a.test:443/x", False),
        ("https://a.test/x/", False),
        ("https://localhost/console/callback", False),
        ("http://localhost:8080/console/callback?x", False),
        ("http://localhost:8080/console/callback#x", False),
        ("http://localhost:8080@evil.test/console/callback", False),
        ("http://localhost:8080.evil.test/console/callback", False),
        ("http://localhost.evil.test/console/callback", False),
        ("http://[::1]/console/callback", False),
        ("http://LOCALHOST/console/callback", False),
        ("http://localhost:8080//console/callback", False),
        ("http://localhost:8080/console/../console/callback", False),
        ("http://localhost:8080/console/callback\n", False),
        ("", False),
    ],
)
def test_redirect_uris_are_compared_as_text_but_for_the_port_on_loopback(given: str, known: bool) -> None:
    assert is_registered(given, REGISTERED) is known


@given(st.text(max_size=40))
def test_no_other_text_is_a_registered_address(text: str) -> None:
    assert is_registered(text, REGISTERED) is False
    assert is_registered(REGISTERED[2] + text, REGISTERED) is (text == "")


HOSTILE = ("https://evil.test", "//evil.test", "é", "\r\nLocation: x", "<b>", "none", "plain", "openid", "%00", "{}")


@given(
    st.dictionaries(
        st.sampled_from(["client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce"])
        | st.sampled_from(["code_challenge", "code_challenge_method", "prompt", "person", "request_uri"]),
        st.sampled_from(HOSTILE) | st.text(max_size=20),
        max_size=4,
    ),
    st.sampled_from(["ada", "", "mallory"]) | st.text(max_size=5),
)
@settings(max_examples=example_count(60), deadline=None)
def test_whatever_is_requested_leads_to_a_page_or_back_to_the_application(
    tenant: LocalTenant, changes: dict[str, str], person: str
) -> None:
    """Never to another address, and never to an error of the server."""

    async def asked() -> Response:
        app = create_sign_in_app(tenant, time.time)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as client:
            parameters = Browser(tenant, client).parameters(**changes)
            url = f"/{tenant.tenant_id}/oauth2/v2.0/authorize"
            return await client.post(url, params=parameters, data={"person": person, "consent": "allow"})

    response = asyncio.run(asked())
    if response.status_code == 303:
        back = answer(response)
        assert ("code" in back) is (person in tenant.people and "error" not in back)
        assert back["state"] == changes.get("state", "the-state")
    else:
        assert response.status_code == 400
        assert "location" not in response.headers


def test_codes_and_refresh_tokens_say_nothing_and_outlive_a_restart(tmp_path: Path) -> None:
    """A changed one is none, one kind is not the other, and another folder's key opens nothing."""
    tenant = LocalTenant.open(tmp_path / "tenant")
    grant = Grant("code", tenant.people["ada"], tenant.client_id, "openid", 1.0, CALLBACK, "challenge", "nonce")
    text = sealed(grant, tenant.folder)
    assert tenant.people["ada"] not in text
    assert opened(text, "code", LocalTenant.open(tenant.folder).folder) == grant
    assert opened(text, "refresh", tenant.folder) is None
    assert opened(text[:-1] + "A", "code", tenant.folder) is None
    assert opened("é", "code", tenant.folder) is None
    assert opened(text, "code", LocalTenant.open(tmp_path / "other").folder) is None
    assert (tenant.folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (tenant.folder / KEY_FILE).write_text("damaged")
    with pytest.raises(TenantFault, match="delete it"):
        opened(text, "code", tenant.folder)


def test_state_json_names_the_pages_from_the_first_start_on(tmp_path: Path) -> None:
    """The port stays. A file of release 0.1, which has no such address, is read."""
    folder = tmp_path / "tenant"
    tenant = LocalTenant.open(folder)
    document = json.loads((folder / STATE_FILE).read_text())
    assert document.pop("sign_in_url") == tenant.sign_in_url == ""
    (folder / STATE_FILE).write_text(json.dumps(document))
    with serve(LocalTenant.open(folder)):
        first = tenant.sign_in_url
        tenant.set_server_url("http://127.0.0.1:8080")
        assert json.loads((folder / STATE_FILE).read_text())["sign_in_url"] == first
    with serve(LocalTenant.open(folder)):
        assert tenant.sign_in_url == first
        assert tenant.server_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://192.0.2.1:80", "http://127.0.0.1:1/x", 1, None])
def test_pages_at_another_address_are_a_fault(tmp_path: Path, url: Any) -> None:
    folder = LocalTenant.open(tmp_path / "tenant").folder
    document = json.loads((folder / STATE_FILE).read_text())
    (folder / STATE_FILE).write_text(json.dumps(document | {"sign_in_url": url}))
    with pytest.raises(TenantFault, match="delete"):
        LocalTenant.open(folder)
