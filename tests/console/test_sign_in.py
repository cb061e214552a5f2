"""People sign in to the console at the real local tenant, and out again; and what comes of every other attempt."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from structlog.testing import capture_logs

from postern.browser_secrets import new_secret
from postern.connections import authorization
from postern.connections.authorization import Exchanged, nonce_of
from postern.console import entra
from postern.console.limits import OF_ADDRESS
from postern.journal import authorizations
from postern.local_tenant import LocalTenant
from postern.local_tenant.tokens import id_claims_of
from tests.console.consoles import AT_HTTPS, AT_LOOPBACK, Browser, Console, open_console, parameters, prefix_of
from tests.identity.minting import private_key

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture(scope="module")
async def consoles(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Console]]:
    """A console at each kind of address."""
    async with (
        open_console(local_tenant, tmp_path_factory.mktemp("http"), AT_LOOPBACK) as at_loopback,
        open_console(local_tenant, tmp_path_factory.mktemp("https"), AT_HTTPS) as at_https,
    ):
        yield {AT_LOOPBACK: at_loopback, AT_HTTPS: at_https}


@pytest.fixture(params=[AT_LOOPBACK, AT_HTTPS])
def either(request: pytest.FixtureRequest, consoles: dict[str, Console]) -> Console:
    return consoles[request.param]


@pytest.fixture
def console(consoles: dict[str, Console]) -> Console:
    return consoles[AT_HTTPS]


async def refused(console: Console, browser: Browser, path: str, status: int, reason: str, code: str) -> str:
    """A callback that signs nobody in: it is recorded with its reason, and its page has the request id. Returns the
    page."""
    with capture_logs() as logs:
        answer = await browser.get(path)
    [line] = [line for line in logs if line["event"] == "request-refused"]
    assert (line["reason"], line["code"], line["status"]) == (reason, code, status)
    assert answer.status_code == status
    assert line["request_id"] in answer.text
    assert "set-cookie" not in answer.headers
    assert not browser.cookie()
    return answer.text


# Signing in and out


async def test_a_person_signs_in_by_one_click_and_sees_the_page_that_was_opened_first(either: Console):
    browser = either.browser()
    first = await browser.get("/console/sessions?after=")
    prefix = prefix_of(either.address)
    assert (first.status_code, first.headers["location"]) == (
        303,
        f"{prefix}/console/sign-in?{urlencode({'to': '/console/sessions?after='})}",
    )
    began = await browser.get(first.headers["location"].removeprefix(prefix))
    assert began.status_code == 302
    done = await browser.get(await browser.choose("lisa", began.headers["location"]))
    assert (done.status_code, done.headers["location"]) == (303, f"{prefix}/console/sessions?after=")
    page = await browser.get("/console/sessions")
    assert page.status_code == 200
    assert "Lisa Moreau" in page.text


async def test_guests_sign_in_as_members_do(console: Console):
    browser = await console.signed_in("gil")
    assert (await browser.get("/console/sessions")).status_code == 200


async def test_the_request_to_entra_is_a_code_flow_with_pkce_state_and_nonce(either: Console):
    browser = either.browser()
    found = parameters(await browser.begin("/console/runs"))
    secret, state = browser.cookie("authorization"), found.pop("state")
    assert found.pop("nonce") == nonce_of(secret, state)
    assert len(found.pop("code_challenge")) == 43
    assert found == {
        "client_id": either.local.client_id,
        "response_type": "code",
        "response_mode": "query",
        "redirect_uri": f"{either.address}/console/callback",
        "scope": "openid profile",
        "code_challenge_method": "S256",
    }
    assert secret not in urlencode(found) + state


async def test_no_page_of_signing_in_is_kept_and_each_has_the_policy(either: Console):
    browser = either.browser()
    began = await browser.get("/console/sign-in")
    done = await browser.get(await browser.choose("ada", began.headers["location"]))
    out = await browser.post("/console/sign-out")
    for answer in (began, done, out, await browser.get("/console/signed-out"), await browser.get("/console/callback")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_link_is_followed_from_any_site(console: Console):
    opened = {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate", "sec-fetch-site": "cross-site"}
    assert (await console.browser().get("/console/sign-in", **opened)).status_code == 302


async def test_several_sign_ins_of_one_browser_may_be_under_way(console: Console):
    """As with two tabs."""
    browser = console.browser()
    first, second = await browser.begin("/console/runs"), await browser.begin("/console/sessions")
    for at_entra, to in ((first, "/console/runs"), (second, "/console/sessions")):
        done = await browser.get(await browser.choose("ada", at_entra))
        assert done.headers["location"].endswith(to)


async def test_each_sign_in_has_a_new_session_id_and_ends_the_session_before(either: Console):
    """Fixation: what a browser had before is worth nothing afterwards."""
    browser = either.browser()
    await browser.sign_in("lisa")
    former = browser.cookie()
    await browser.sign_in("ada")
    assert browser.cookie() not in ("", former)
    other = either.browser()
    assert (await other.get("/console/sessions", cookie=session_cookie(browser, former))).status_code == 303


async def test_a_session_id_that_somebody_else_chose_is_never_taken_over(console: Console):
    browser, planted = console.browser(), new_secret()
    name = "__Host-postern-session"
    answer = await browser.get(await browser.choose("lisa", await browser.begin()), cookie=f"{name}={planted}")
    assert answer.status_code == 400  # and a cookie that replaces the browser's own signs nobody in
    done = await browser.sign_in("lisa")
    assert planted not in done.headers["set-cookie"]
    assert (await console.browser().get("/console/sessions", cookie=f"{name}={planted}")).status_code == 303


async def test_after_signing_out_the_cookie_is_worth_nothing(either: Console):
    browser = await either.signed_in("lisa")
    kept = browser.cookie()
    out = await browser.post("/console/sign-out")
    assert (out.status_code, out.headers["location"]) == (303, f"{prefix_of(either.address)}/console/signed-out")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert not browser.cookie()
    answer = await either.browser().get("/console/sessions", cookie=session_cookie(browser, kept))
    assert answer.status_code == 303
    assert "/console/sign-in" in answer.headers["location"]


async def test_the_page_after_signing_out_links_to_entras_own_sign_out(either: Console):
    page = (await either.browser().get("/console/signed-out")).text.replace("&amp;", "&")
    url = next(part for part in page.split('"') if "/logout" in part)
    assert url.startswith(f"{either.local.sign_in_url}/")
    assert parameters(url) == {
        "client_id": either.local.client_id,
        "post_logout_redirect_uri": f"{either.address}/console/signed-out",
    }
    assert (await either.entra.get(url)).headers["location"] == f"{either.address}/console/signed-out"


async def test_under_another_name_the_browser_goes_to_the_consoles_own_first(console: Console):
    browser = console.browser()
    answer = await browser.get("/console/sign-in?to=/console/runs", host="127.0.0.1:8080")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{AT_HTTPS}/console/sign-in?to=%2Fconsole%2Fruns&moved=1"
    assert "set-cookie" not in answer.headers
    round_again = await browser.get("/console/sign-in?moved=1", host="127.0.0.1:8080")
    assert round_again.status_code == 421
    behind_a_proxy = await browser.get("/console/sign-in", **{"host": "127.0.0.1:8080", "x-forwarded-for": "192.0.2.9"})
    assert behind_a_proxy.status_code == 302


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/triggers/hello", "/console/../triggers", "/console/sign-in"]
)
async def test_a_destination_elsewhere_leads_to_the_console(console: Console, to: str):
    done = await console.browser().sign_in("lisa", to)
    assert done.headers["location"] == "/base/console"


async def test_a_destination_that_the_journal_was_made_to_hold_leads_to_the_console(console: Console):
    browser = console.browser()
    at_entra = await browser.begin("/console/runs")
    change = "UPDATE authorizations SET about = 'https://evil.example/'"
    console.execute(change)
    done = await browser.get(await browser.choose("lisa", at_entra))
    assert done.headers["location"] == "/base/console"


# The state


async def test_a_state_is_used_once(console: Console):
    browser = console.browser()
    callback = await browser.choose("lisa", await browser.begin())
    assert (await browser.get(callback)).status_code == 303
    with capture_logs() as logs:
        again = await browser.get(callback)
    assert again.status_code == 400
    assert "set-cookie" not in again.headers
    assert [line["found"] for line in logs if line["event"] == "request-refused"] == ["used"]


async def test_a_state_of_another_browser_is_left_to_that_one(console: Console):
    """Somebody who sends a link with a code of their own signs nobody in to their account."""
    mine, theirs = console.browser(), console.browser()
    callback = await theirs.choose("ada", await theirs.begin())
    await mine.begin()
    page = await refused(console, mine, callback, 400, "state", "sign-in-not-started")
    assert "Sign in again" in page
    assert (await theirs.get(callback)).status_code == 303


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": new_secret()}, "state"),
        ({"state": "x"}, "state"),
        ({"state": ""}, "state"),
        ({"state": ...}, "state"),
    ],
)
async def test_a_state_that_was_not_given_out_signs_nobody_in(console: Console, change: dict[str, Any], reason: str):
    browser = console.browser()
    callback = changed(await browser.choose("lisa", await browser.begin()), change)
    await refused(console, browser, callback, 400, reason, "sign-in-not-started")


async def test_a_browser_that_began_nothing_is_not_signed_in(console: Console):
    began, other = console.browser(), console.browser()
    callback = await began.choose("lisa", await began.begin())
    await refused(console, other, callback, 400, "browser", "sign-in-not-started")


async def test_a_parameter_that_comes_twice_signs_nobody_in(console: Console):
    browser = console.browser()
    callback = await browser.choose("lisa", await browser.begin())
    page = await refused(console, browser, f"{callback}&state=x", 400, "sign-in-not-started", "sign-in-not-started")
    assert "Sign in again" in page


async def test_an_expired_state_signs_nobody_in(console: Console):
    browser = console.browser()
    callback = await browser.choose("lisa", await browser.begin())
    console.execute(f"UPDATE authorizations SET created_at = created_at - {authorizations.KEPT_FOR}")
    await refused(console, browser, callback, 400, "state", "sign-in-not-started")


async def test_of_two_processes_that_get_one_callback_one_signs_in(
    console: Console, local_tenant: LocalTenant, tmp_path: Path
):
    async with open_console(local_tenant, tmp_path, AT_HTTPS, database_url=console.database_url) as second:
        browser = console.browser()
        callback = await browser.choose("lisa", await browser.begin())
        cookie = session_cookie(browser, browser.cookie("authorization"), "authorization")
        answers = await asyncio.gather(
            *(each.browser().get(callback, cookie=cookie) for each in (console, second, console, second))
        )
        assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400]
        signed_in = next(answer for answer in answers if answer.status_code == 303)
        made = signed_in.headers["set-cookie"].partition(";")[0]
        for each in (console, second):
            assert (await each.browser().get("/console/sessions", cookie=made)).status_code == 200


# What Entra answers


async def test_a_person_who_cancels_reads_that_they_did_not_sign_in(console: Console):
    browser = console.browser()
    callback = await browser.choose("", await browser.begin())
    assert parse_qs(urlsplit(callback).query)["error"] == ["access_denied"]
    page = await refused(console, browser, callback, 403, "sign-in-cancelled", "sign-in-cancelled")
    assert "You did not sign in." in page


@pytest.mark.parametrize(
    ("answer", "status", "code", "said"),
    [
        (
            {"error": "interaction_required", "error_description": "AADSTS50076: x"},
            403,
            "sign-in-refused",
            "AADSTS50076",
        ),
        ({"error": "invalid_client"}, 403, "sign-in-refused", "did not confirm"),
        ({"error": "<script>", "error_description": "<b>AADSTS9</b>"}, 403, "sign-in-refused", "did not confirm"),
        ({"error": "temporarily_unavailable"}, 503, "sign-in-unavailable", "at the moment"),
        ({"error": "server_error", "error_description": "AADSTS90033"}, 503, "sign-in-unavailable", "at the moment"),
        ({}, 403, "sign-in-refused", "did not confirm"),
        ({"code": "not a code"}, 403, "sign-in-refused", "did not confirm"),
        ({"code": "forged"}, 403, "sign-in-refused", ""),
    ],
)
async def test_an_error_of_entra_is_said_by_its_number_only(
    console: Console, answer: dict[str, str], status: int, code: str, said: str
):
    browser = console.browser()
    state = parameters(await browser.begin())["state"]
    path = f"/console/callback?{urlencode({**answer, 'state': state})}"
    shown = code if answer.get("code") != "forged" else None
    with capture_logs() as logs:
        page = await browser.get(path)
    [line] = [line for line in logs if line["event"] == "request-refused"]
    if shown is not None:
        assert (page.status_code, line["code"]) == (status, shown)
    assert page.status_code in (403, 503)
    assert said in page.text
    assert "<script>alert" not in page.text
    assert answer.get("error_description", "nothing") not in page.text
    assert not browser.cookie()


async def test_a_code_is_exchanged_once(console: Console, monkeypatch: pytest.MonkeyPatch):
    """A state is taken before anything is sent, so that a second callback sends nothing."""
    sent: list[Any] = []
    real = authorization.exchange

    async def counted(*arguments: Any) -> Exchanged:
        sent.append(arguments)
        return await real(*arguments)

    monkeypatch.setattr(entra, "exchange", counted)
    browser = console.browser()
    callback = await browser.choose("lisa", await browser.begin())
    await asyncio.gather(*(browser.get(callback) for _ in range(3)))
    assert len(sent) == 1


def id_claims(console: Console, nonce: str) -> dict[str, Any]:
    return id_claims_of(
        console.local.directory.people["lisa"],
        client_id=console.local.client_id,
        issued_by=console.local.issuers[1],
        tenant_id=console.local.tenant_id,
        nonce=nonce,
        scopes=("openid", "profile"),
        now=int(time.time()),
    )


TOKENS: dict[str, tuple[str, Callable[[Console, dict[str, Any]], str]]] = {
    "another nonce": ("nonce", lambda c, claims: c.local.mint({**claims, "nonce": new_secret()})),
    "no nonce": ("nonce", lambda c, claims: c.local.mint({**claims, "nonce": ""})),
    "another audience": ("client", lambda c, claims: c.local.mint({**claims, "aud": "another"})),
    "another tenant": ("known-tenant", lambda c, claims: c.local.mint({**claims, "tid": new_guid()})),
    "another issuer": ("issuer", lambda c, claims: c.local.mint({**claims, "iss": "https://evil.example/v2.0"})),
    "expired": ("expiry", lambda c, claims: c.local.mint({**claims, "exp": int(time.time()) - 4000})),
    "version 1": ("version", lambda c, claims: c.local.mint({**claims, "ver": "1.0"})),
    "an access token": ("id-token", lambda c, _: c.local.token("lisa")),
    "another algorithm": ("algorithm", lambda c, claims: jwt.encode(claims, "x" * 64, "HS256", headers={"kid": "x"})),
    "another key": ("key-published", lambda c, claims: jwt.encode(claims, private_key(), "RS256", {"kid": "x"})),
    "no algorithm": ("algorithm", lambda c, claims: jwt.encode(claims, "", "none")),
    "nothing": ("form", lambda *_: ""),
}


def new_guid() -> str:
    return "0f0f0f0f-0000-4000-8000-0f0f0f0f0f0f"


@pytest.mark.parametrize("wrong", TOKENS)
async def test_an_id_token_that_is_not_this_sign_ins_signs_nobody_in(
    console: Console, wrong: str, monkeypatch: pytest.MonkeyPatch
):
    rule, make = TOKENS[wrong]
    browser = console.browser()
    at_entra = await browser.begin()
    nonce = parameters(at_entra)["nonce"]

    async def exchanged(*_: Any) -> Exchanged:
        return Exchanged("an access token", 60, make(console, id_claims(console, nonce)))

    monkeypatch.setattr(entra, "exchange", exchanged)
    callback = await browser.choose("lisa", at_entra)
    with capture_logs() as logs:
        answer = await browser.get(callback)
    [line] = [line for line in logs if line["event"] == "request-refused"]
    assert (answer.status_code, line["code"]) == (403, "sign-in-refused")
    assert line["reason"] == rule
    assert not browser.cookie()
    assert "eyJ" not in repr(logs) + answer.text


async def test_the_tokens_that_are_refused_differ_in_one_claim_from_one_that_is_not(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    browser = console.browser()
    at_entra = await browser.begin()

    async def exchanged(*_: Any) -> Exchanged:
        return Exchanged("", 60, console.local.mint(id_claims(console, parameters(at_entra)["nonce"])))

    monkeypatch.setattr(entra, "exchange", exchanged)
    assert (await browser.get(await browser.choose("lisa", at_entra))).status_code == 303


async def test_without_a_client_secret_the_federated_identity_proves_the_application(
    local_tenant: LocalTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As `entra` connections do in a cluster."""
    token = tmp_path / "token"
    token.write_text(local_tenant.service_account_token(), encoding="utf-8")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    credential: dict[str, Any] = {"client_secret_name": None, "azure_credential": "workload_identity"}
    async with open_console(local_tenant, tmp_path, AT_HTTPS, **credential) as opened:
        browser = await opened.signed_in("lisa")
        assert (await browser.get("/console/sessions")).status_code == 200
        token.write_text("a.foreign.token", encoding="utf-8")
        other = opened.browser()
        callback = await other.choose("lisa", await other.begin())
        await refused(opened, other, callback, 503, "sign-in-unavailable", "sign-in-unavailable")


# Limits


async def test_an_address_starts_ten_sign_ins_in_a_minute(console: Console):
    browser = console.browser()
    for _ in range(OF_ADDRESS):
        await browser.begin()
    with capture_logs() as logs:
        answer = await browser.get("/console/sign-in")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert [line["code"] for line in logs if line["event"] == "request-refused"] == ["too-many-sign-ins"]
    await console.browser().begin()


# What is kept, and what is not


async def test_the_journal_has_hashes_and_the_log_has_neither_secret_nor_code(console: Console):
    browser = console.browser()
    with capture_logs() as logs:
        at_entra = await browser.begin()
        callback = await browser.choose("lisa", at_entra)
        await browser.get(callback)
        await browser.get("/console/sessions")
    state, code = (parse_qs(urlsplit(callback).query)[name][0] for name in ("state", "code"))
    secrets = {state, code, browser.cookie(), browser.cookie("authorization")}
    assert all(secrets)
    rows = repr(console.execute("SELECT * FROM authorizations")) + repr(console.execute("SELECT * FROM sessions"))
    assert rows.count("'sign-in'") >= 1
    for secret in secrets:
        assert secret not in rows
        assert secret not in repr(logs)


async def test_each_rejected_sign_in_is_a_refusal_with_its_check_in_the_journal(
    local_tenant: LocalTenant, tmp_path: Path
):
    async with open_console(local_tenant, tmp_path, AT_HTTPS) as opened:
        browser = opened.browser()
        answers = [
            await browser.get(f"/console/callback?state={new_secret()}"),
            await browser.get(await browser.choose("", await browser.begin())),
            await browser.post("/console/sign-out", {"origin": "null"}),
        ]
    found = opened.execute("SELECT id, reason, code, status, client_address, checks FROM refusals ORDER BY id")
    for answer, row in zip(answers, found, strict=True):
        assert row.id in answer.text
        assert (row.status, row.client_address) == (answer.status_code, browser.address)
    assert [(row.reason, row.code) for row in found] == [
        ("browser", "sign-in-not-started"),
        ("sign-in-cancelled", "sign-in-cancelled"),
        ("cross-site-request", "cross-site-request"),
    ]
    said = [json.loads(row.checks)[-1]["found"] for row in found]
    assert said[0].startswith("no cookie")
    assert said[1] == "access_denied AADSTS65004"
    assert said[2] == "Origin is null, not https://postern.example"


def session_cookie(browser: Browser, value: str, name: str = "session") -> str:
    """The header of a cookie of the console."""
    full = next(each.name for each in browser.client.cookies.jar if "postern-" in each.name)
    return f"{full.replace('authorization', name).replace('session', name)}={value}"


def changed(url: str, change: dict[str, Any]) -> str:
    """The URL with parameters replaced, or left out (...)."""
    parts = urlsplit(url)
    found = {name: value for name, (value,) in parse_qs(parts.query).items()} | change
    return parts._replace(query=urlencode({name: value for name, value in found.items() if value is not ...})).geturl()
