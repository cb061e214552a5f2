"""Giving consent: a person connects, refuses, reconnects and disconnects, against a strict provider."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from postern.api import departure
from postern.connections.grants.oauth_provider import OAuthProvider
from postern.console.consent import redirect_uri
from postern.console.limits import OF_ADDRESS
from postern.local_tenant import LocalTenant
from tests.console.consents import Installation, installation, onward
from tests.console.consoles import AT_HTTPS, Browser
from tests.strict_provider import Rules

pytestmark = [pytest.mark.anyio, pytest.mark.process]


FORM = {"return_to": ""}
"""The fields of the form of a connection."""


@pytest.fixture(scope="module")
async def shared_installation(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with installation(local_tenant, tmp_path_factory.mktemp("consent")) as made:
        yield made


@pytest.fixture
async def at(shared_installation: Installation) -> Installation:
    """The installation, as if nobody had connected anything."""
    for emptied in ("grants", "invitations", "authorizations", "refusals"):
        shared_installation.console.execute(f"DELETE FROM {emptied}")
    shared_installation.provider.rules = Rules()
    shared_installation.provider.answers.clear()
    return shared_installation


@pytest.fixture
async def lisa(at: Installation) -> Browser:
    return await at.console.signed_in("lisa")


async def test_a_person_connects_and_comes_back_to_a_page_that_says_so(at: Installation, lisa: Browser):
    """The page says which provider, as whom, which scopes and which workflows, before anything is sent."""
    asks = (await lisa.get("/connect/tickets")).text
    for said in ("127.0.0.1", "<code>read</code>", "<code>write</code>", "open-ticket", "Needed", "Lisa Moreau"):
        assert said in asks, said
    answered = await lisa.post("/connect/tickets", data=FORM)
    url = onward(answered)
    assert answered.status_code == 200
    assert 'href="' + url.replace("&", "&amp;") + '"' in answered.text
    asked = parse_qs(urlsplit(url).query)
    assert asked["redirect_uri"] == [f"{at.console.address}/connect/tickets/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    back = await lisa.get(await at.agree(url))
    assert (back.status_code, back.headers["location"]) == (303, "/connect/tickets")
    assert [row[:2] for row in at.grants()] == [("tickets", at.owner("lisa"))]
    shown = (await lisa.get("/connect/tickets")).text
    assert "Connected</span>" in shown
    assert "Reconnect" in shown


async def test_a_page_of_ours_is_all_that_a_connected_person_is_sent_to(at: Installation, lisa: Browser):
    for to, comes_to in (
        ("/console/runs", "/console/runs"),
        ("https://evil.example/", "/connect/tickets"),
        ("//evil.example/console", "/connect/tickets"),
        ("/triggers/hello", "/connect/tickets"),
    ):
        back = await at.connect(lisa, return_to=to)
        assert back.headers["location"] == comes_to, to


async def test_a_consent_is_finished_once_and_then_no_code_is_exchanged(at: Installation, lisa: Browser):
    path = await at.agree(await at.begin(lisa))
    assert (await lisa.get(path)).status_code == 303
    assert at.provider.answers["tokens"] == 1
    again = await lisa.get(path)
    assert again.status_code == 400
    assert "Connection not completed" in again.text
    assert sum(at.provider.answers.values()) == 1


async def test_a_consent_is_finished_once_also_by_two_requests_at_once(at: Installation, lisa: Browser):
    path = await at.agree(await at.begin(lisa))
    both = await asyncio.gather(lisa.get(path), lisa.get(path))
    assert sorted(each.status_code for each in both) == [303, 400]
    assert sum(at.provider.answers.values()) == 1


async def test_a_consent_is_finished_though_its_browser_leaves(
    at: Installation, lisa: Browser, monkeypatch: pytest.MonkeyPatch
):
    """A reload while the provider is slow ends the first request. Its code can be exchanged once only."""
    monkeypatch.setattr(departure, "LISTEN_AFTER", 0)
    url = urlsplit(await at.agree(await at.begin(lisa)))
    cookies = "; ".join(f"{each.name}={each.value}" for each in lisa.client.cookies.jar)
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "headers": [(b"host", b"127.0.0.1:8080"), (b"cookie", cookies.encode())],
        "client": (lisa.address, 50_000),
        "server": ("127.0.0.1", 8080),
    }

    async def left() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    await at.console.app(scope, left, send)
    assert [row[:2] for row in at.grants()] == [("tickets", at.owner("lisa"))]


async def test_a_consent_is_finished_by_the_browser_session_and_person_that_began_it(at: Installation, lisa: Browser):
    """Also where a foreign browser has the other one's cookie of an authorization, and another session."""
    path = await at.agree(await at.begin(lisa))
    other, ada = await at.console.signed_in("lisa"), await at.console.signed_in("ada")
    for browser in (other, ada):
        assert (await browser.get(path)).status_code == 400
        stolen = lisa.cookie("authorization")
        for cookie in [each for each in browser.client.cookies.jar if "authorization" in each.name]:
            cookie.value = stolen
        assert (await browser.get(path)).status_code == 400
    await lisa.sign_in("ada")
    assert (await lisa.get(path)).status_code == 400
    assert at.grants() == []
    assert sum(at.provider.answers.values()) == 0


async def test_the_code_of_one_connection_is_none_for_another(at: Installation, lisa: Browser):
    path = await at.agree(await at.begin(lisa))
    assert (await lisa.get(path.replace("/connect/tickets/", "/connect/notes/"))).status_code == 400
    assert at.grants() == []
    assert (await lisa.get(path)).status_code == 303


async def test_a_code_is_not_sent_to_the_provider_of_an_entry_that_was_changed_meanwhile(
    at: Installation, lisa: Browser, monkeypatch: pytest.MonkeyPatch
):
    """The server was restarted with other addresses while lisa was at the former provider."""
    callback = await at.agree(await at.begin(lisa))
    monkeypatch.setattr("postern.console.consent.place_of", lambda *_: "another")
    back = await lisa.get(callback)
    assert (back.status_code, at.grants()) == (400, [])
    assert sum(at.provider.answers.values()) == 0


@pytest.mark.parametrize("error", ["", "access_denied"])
async def test_the_answer_of_another_provider_is_rejected_before_its_code_is_sent_anywhere(
    at: Installation, lisa: Browser, error: str
):
    """RFC 9207: also an error."""
    at.provider.set(iss="https://evil.example", denied=error)
    back = await at.connect(lisa)
    assert back.status_code == 403
    assert "another provider" in back.text
    assert sum(at.provider.answers.values()) == 0
    at.provider.set(iss=at.provider.url, denied="")
    assert (await at.connect(lisa)).status_code == 303


@pytest.mark.parametrize("error", ["", "access_denied"])
async def test_a_provider_that_promises_to_name_itself_has_to(at: Installation, lisa: Browser, error: str):
    at.provider.set(denied=error)
    back = await at.connect(lisa, "named")
    assert back.status_code == 403
    assert "another provider" in back.text
    assert sum(at.provider.answers.values()) == 0
    at.provider.set(iss=at.provider.url, denied="")
    assert (await at.connect(lisa, "named")).status_code == 303


async def test_a_callback_that_nobody_began_is_rejected(at: Installation, lisa: Browser):
    state = "s" * 43
    for query in ("", "?code=a", f"?code=a&state={state}", f"?code=a&state={state}&state={state}", "?state=%ff"):
        back = await lisa.get(f"/connect/tickets/callback{query}")
        assert back.status_code == 400, query
        assert 'href="/connect/tickets"' in back.text
    await at.begin(lisa)
    begun = at.console.execute("SELECT count(*) FROM authorizations WHERE kind = 'consent' AND used_by IS NOT NULL")
    assert begun == [(0,)]


async def test_a_person_who_does_not_agree_connects_nothing(at: Installation, lisa: Browser):
    at.provider.set(denied="access_denied")
    back = await at.connect(lisa)
    assert back.status_code == 403
    assert '<a class="button" href="/connect/tickets">Back to the connection</a>' in back.text
    assert "the person declined at the provider. You must start again and agree." in back.text
    assert "declined" in back.text
    assert at.grants() == []
    assert "<script>" not in back.text


@pytest.mark.parametrize("error", ["server_error", "invalid_scope", "<b>marker</b>", "error with AADSTS50105"])
async def test_an_error_of_the_provider_is_said_in_our_words(at: Installation, lisa: Browser, error: str):
    at.provider.set(denied=error)
    with capture_logs() as logs:
        back = await at.connect(lisa)
    assert back.status_code == (503 if error == "server_error" else 403)
    assert "marker" not in back.text
    assert "marker" not in str(logs)
    [line] = [each for each in logs if each["event"] == "request-refused"]
    assert (error in line["found"]) is error.isidentifier()
    assert at.grants() == []


async def test_a_code_that_is_not_accepted_connects_nothing(at: Installation, lisa: Browser):
    at.provider.set(answer="invalid_grant")
    back = await at.connect(lisa)
    assert back.status_code == 403
    assert "refresh-marker" not in back.text
    at.provider.set(answer="503")
    assert (await at.connect(lisa)).status_code in (403, 503)
    assert at.grants() == []


async def test_fewer_scopes_and_no_refresh_token_are_said(at: Installation, lisa: Browser):
    at.provider.set(scopes="read")
    await at.connect(lisa)
    shown = (await lisa.get("/connect/tickets")).text
    assert "Connected</span>" in shown
    assert "fewer scopes" in shown
    at.provider.set(scopes=None, refresh_token=False)
    await at.connect(lisa)
    shown = (await lisa.get("/connect/tickets")).text
    assert "Expiring</span>" in shown
    assert "no refresh token" in shown


async def test_another_account_than_before_stores_nothing_and_the_page_says_which(
    at: Installation, lisa: Browser, monkeypatch: pytest.MonkeyPatch
):
    redeem = OAuthProvider.redeem

    async def of_account(self: OAuthProvider, *args: Any) -> Any:
        account = at.provider.rules.account
        return replace(await redeem(self, *args), account=account, account_name=f"{account}@work")

    monkeypatch.setattr(OAuthProvider, "redeem", of_account)
    assert (await at.connect(lisa)).status_code == 303
    (before,) = at.console.execute("SELECT sealed, generation FROM grants")
    at.provider.set(account="mallory")
    other = await at.connect(lisa)
    assert other.status_code == 409
    assert "lisa@work" in other.text
    assert "mallory@work" in other.text
    assert at.console.execute("SELECT sealed, generation FROM grants") == [before]
    await lisa.post("/connect/tickets/disconnect")
    assert (await at.connect(lisa)).status_code == 303


async def test_a_shared_connection_is_there_for_operators_only(at: Installation, lisa: Browser):
    for answered in (
        await lisa.get("/connect/shared"),
        await lisa.post("/connect/shared", data=FORM),
        await lisa.post("/connect/shared/disconnect"),
        await lisa.get("/connect/shared/callback?code=a&state=" + "s" * 43),
    ):
        assert answered.status_code == 404
    assert "shared" not in (await lisa.get("/connect")).text
    ada = await at.console.signed_in("ada")
    assert (await at.connect(ada, "shared")).status_code == 303
    assert [row[:2] for row in at.grants()] == [("shared", "")]
    assert (await lisa.get("/connect/shared")).status_code == 404


async def test_a_shared_connection_names_the_operator_who_connected_it_and_not_the_one_who_looks(at: Installation):
    ada = await at.console.signed_in("ada")
    await at.connect(ada, "shared")
    assert "<dd>Ada Okafor" in (await ada.get("/connect/shared")).text
    at.console.execute(f"UPDATE grants SET created_by = '{at.owner('gil')}'")
    shown = (await ada.get("/connect/shared")).text
    assert "<dd>gil" in shown
    assert "<dd>Ada" not in shown


async def test_a_person_disconnects_here_and_at_the_provider(at: Installation, lisa: Browser):
    await at.connect(lisa)
    before = at.provider.revocations
    ended = await lisa.post("/connect/tickets/disconnect")
    assert "is disconnected here" in ended.text
    assert "ended at the provider too" in ended.text
    assert at.provider.revocations > before
    assert at.grants() == []
    assert (await lisa.post("/connect/tickets/disconnect")).status_code == 404
    assert (await lisa.get("/connect/tickets/disconnect")).headers["location"] == "/connect/tickets"


async def test_what_cannot_be_ended_at_the_provider_is_said(at: Installation, lisa: Browser):
    await at.connect(lisa, "notes")
    ended = await lisa.post("/connect/notes/disconnect")
    assert "ended at the provider too" not in ended.text
    assert at.grants() == []


async def test_a_session_begins_a_few_consents_a_minute(at: Installation):
    ada = await at.console.signed_in("ada")
    statuses = [(await ada.post("/connect/tickets", data=FORM)).status_code for _ in range(OF_ADDRESS + 1)]
    assert statuses == [200] * OF_ADDRESS + [429]


async def test_a_form_of_another_site_connects_and_disconnects_nothing(at: Installation, lisa: Browser):
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    await at.connect(lisa)
    for path in ("/connect/tickets", "/connect/tickets/disconnect", "/connect/tickets/link/" + "a" * 64):
        assert (await lisa.post(path, foreign)).status_code == 403
    assert len(at.grants()) == 1


async def test_the_code_of_a_person_whose_session_has_ended_is_kept_nowhere(at: Installation, lisa: Browser):
    """A page would be opened again after signing in, and its address is in the journal meanwhile."""
    path = await at.agree(await at.begin(lisa))
    code = parse_qs(urlsplit(path).query)["code"][0]
    await lisa.post("/console/sign-out")
    assert (await lisa.get(path)).status_code == 401
    rows = at.console.execute("SELECT about FROM authorizations")
    assert code not in str(rows)
    assert sum(at.provider.answers.values()) == 0


async def test_no_token_and_no_code_is_on_a_page_in_a_log_or_in_the_database(at: Installation, lisa: Browser):
    with capture_logs() as logs:
        path = await at.agree(await at.begin(lisa))
        pages = [
            await lisa.get(path),
            await lisa.get(path),
            await lisa.get("/connect/tickets"),
            await lisa.get("/connect"),
        ]
        ada = await at.console.signed_in("ada")
        pages += [
            await ada.get("/console/connections"),
            await ada.get("/console/connections/connections.tickets/people"),
        ]
    (family,) = at.provider.families[-1:]
    code = parse_qs(urlsplit(path).query)["code"][0]
    markers = [*family.access, family.refresh, code, lisa.cookie("authorization")]
    tables = ("grants", "authorizations", "invitations", "refusals")
    stored = str([at.console.execute(f"SELECT * FROM {table}") for table in tables])
    everywhere = stored + str(logs) + "".join(page.text + str(page.headers) for page in pages)
    assert family.refresh.startswith("refresh-")
    for marker in markers:
        assert marker not in everywhere


async def test_pages_of_consent_have_the_policies_of_the_console(at: Installation, lisa: Browser):
    for answered in (
        await lisa.get("/connect/tickets"),
        await lisa.post("/connect/tickets", data=FORM),
        await lisa.get("/connect/x"),
    ):
        assert "default-src 'none'" in answered.headers["content-security-policy"]
        assert answered.headers["referrer-policy"] == "same-origin"
        assert answered.headers["cache-control"] == "no-store"


async def test_a_head_of_a_page_or_a_callback_changes_nothing(at: Installation, lisa: Browser):
    path = await at.agree(await at.begin(lisa))
    headed = await lisa.client.head(path, headers=lisa.headers)
    assert headed.status_code == 405
    assert (await lisa.get(path)).status_code == 303


async def test_the_home_page_says_what_is_needed_broken_and_ending(at: Installation):
    lisa = await at.console.signed_in("lisa")
    assert "tickets is not connected" in (await lisa.get("/console")).text
    await at.connect(lisa)
    assert "tickets is not connected" not in (await lisa.get("/console")).text
    at.console.execute("UPDATE grants SET state = 'Broken', reason = 'revoked'")
    assert "Your connection tickets is broken" in (await lisa.get("/console")).text
    page = (await lisa.get("/connect")).text
    assert "revoked the sign-ins (AADSTS50173). You must connect it again." in page
    assert re.search(r"Broken</span>", page)


async def test_the_page_of_a_run_that_failed_for_want_of_a_grant_leads_its_caller_there_and_back(
    at: Installation, lisa: Browser
):
    run = await at.run("read-ticket", "lisa")
    there = f'href="/connect/tickets?return_to={run}">Connect tickets</a>'
    assert there in (await lisa.get(run)).text
    ada = await at.console.signed_in("ada")
    assert "Connect tickets" not in (await ada.get(run)).text
    assert "Connect tickets" not in (await ada.get(await at.run("read-ticket", "nightly-report"))).text
    back = await at.connect(lisa, return_to=run)
    assert (back.status_code, back.headers["location"]) == (303, run)
    assert "Connect tickets" not in (await lisa.get(run)).text
    at.console.execute("UPDATE grants SET state = 'Broken', reason = 'revoked'")
    assert there in (await lisa.get(run)).text


async def test_the_page_of_a_run_that_failed_for_want_of_a_shared_grant_leads_operators_there(
    at: Installation, lisa: Browser
):
    run = await at.run("read-wiki", "lisa")
    ada = await at.console.signed_in("ada")
    assert f'href="/connect/shared?return_to={run}">Connect shared</a>' in (await ada.get(run)).text
    assert "Connect shared" not in (await lisa.get(run)).text


def context(name: str) -> str:
    return f'{{"access_token":{{"acrs":{{"essential":true,"value":"{name}"}}}}}}'


async def test_a_claims_challenge_of_the_api_is_answered_by_one_refresh(at: Installation, lisa: Browser):
    """The call is repeated with the token, which serves the next runs as well."""
    await at.connect(lisa, "notes")
    at.provider.set(challenge=context("c1"))
    assert [(await at.reply("read-account", "lisa")).json() for _ in range(3)] == ["lisa"] * 3
    assert at.provider.answers == {"tokens": 2}
    at.provider.set(challenge=context("c2"))
    found = await asyncio.gather(*(at.reply("read-account", "lisa") for _ in range(5)))
    assert [each.json() for each in found] == ["lisa"] * 5
    assert at.provider.answers == {"tokens": 3}


async def test_an_api_that_asks_for_other_claims_than_it_accepts_rejects_the_call(at: Installation, lisa: Browser):
    await at.connect(lisa, "notes")
    at.provider.set(challenge=context("c1"), deaf=True)
    assert [(await at.reply("read-account", "lisa")).json() for _ in range(3)] == ["401"] * 3
    assert at.provider.answers == {"tokens": 2}


async def test_a_person_who_has_to_meet_a_challenge_connects_again_with_its_claims(at: Installation, lisa: Browser):
    """All of her runs ask once."""
    await at.connect(lisa, "notes")
    at.provider.set(challenge=context("c1"), step_up=True)
    replies = await asyncio.gather(*(at.reply("read-account", "lisa") for _ in range(3)))
    for each in replies:
        assert (each.status_code, each.json()["code"]) == (424, "consent-required")
        assert each.json()["connect_url"] == f"{at.console.address}/connect/notes"
        assert "acrs" not in each.text + str(each.headers)
    assert at.provider.answers == {"tokens": 1, "interaction_required": 1}
    page = (await lisa.get("/connect/notes")).text
    assert "Broken</span>" in page
    assert "acrs" not in page
    url = await at.begin(lisa, "notes")
    assert parse_qs(urlsplit(url).query)["claims"] == [context("c1")]
    await lisa.get(await at.agree(url))
    assert (await at.reply("read-account", "lisa")).json() == "lisa"
    assert at.console.execute("SELECT state, claims FROM grants") == [("Connected", None)]
    assert "claims" not in parse_qs(urlsplit(await at.begin(lisa, "notes")).query)


async def test_the_public_url_may_have_a_path(local_tenant: LocalTenant, tmp_path: Path):
    """A proxy takes it away; browsers need it in each address."""
    async with installation(local_tenant, tmp_path, AT_HTTPS) as made:
        lisa = await made.console.signed_in("lisa", "/connect/tickets")
        assert 'action="/base/connect/tickets"' in (await lisa.get("/connect/tickets?return_to=/console/runs")).text
        url = await made.begin(lisa)
        assert parse_qs(urlsplit(url).query)["redirect_uri"] == [f"{AT_HTTPS}/connect/tickets/callback"]
        back = await lisa.get(await made.agree(url))
        assert back.headers["location"] == "/base/connect/tickets"
        shown = (await lisa.get("/connect/tickets?return_to=/console/runs")).text
        assert 'href="/base/console/runs">Go on' in shown


async def test_a_grant_that_two_people_end_at_once_is_ended_once(at: Installation, lisa: Browser):
    await at.connect(lisa)
    both = await asyncio.gather(*(lisa.post("/connect/tickets/disconnect") for _ in range(3)))
    assert 200 in [each.status_code for each in both]
    assert {each.status_code for each in both} <= {200, 404}
    assert at.grants() == []


def test_the_addresses_of_a_callback_are_made_from_ours_and_not_from_the_request():
    assert redirect_uri("https://postern.example/base", "triggers.pay") == (
        "https://postern.example/base/connect/triggers.pay/callback"
    )
