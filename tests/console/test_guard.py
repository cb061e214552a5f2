"""The checks before every page of the console: who sees what, how a request came, and what an error looks like."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.access import Check, Refused
from postern.console import routes
from postern.console.form import form_of
from postern.console.page import PageRoute, Shown, Visit
from postern.errors import problem
from postern.ids import new_id
from postern.journal.sessions import Ends
from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, AT_LOOPBACK, Browser, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]

POLICY = (
    "default-src 'none'; script-src {public}/console/assets/; style-src {public}/console/assets/; "
    "img-src {public}/console/assets/; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
LISTED = "fda52ac9-24fd-49e8-993d-37e9b11b2963"
"""Gil's object id: an operator by the settings, without the role."""


CROSS_SITE = {"sec-fetch-site": "cross-site"}


async def asked(visit: Visit) -> Shown:
    """A page that fails as its query says."""
    if code := visit.request.query_params.get("fails"):
        raise problem(code)
    if check := visit.request.query_params.get("refuses"):
        raise Refused([Check(check, False, "MARKER", "MARKER")])
    if visit.request.query_params.get("breaks"):
        raise ValueError("MARKER of the page")
    return Shown("signed-out.html", {"at_entra": f"OPEN {visit.partial}"})


SLOWLY: dict[str, asyncio.Event] = {}
"""When the form of a test began to arrive, and when it may go on."""


async def formed(visit: Visit) -> Shown:
    """A page that takes a form."""
    SLOWLY["began"].set()
    return Shown("signed-out.html", {"at_entra": f"TOOK {await form_of(visit, 100)}"})


def pages(_: Any) -> tuple[PageRoute, ...]:
    """Pages that only these tests have."""
    return (
        PageRoute("POST", "/console/form", formed),
        PageRoute("GET", "/console/open", asked),
        PageRoute("POST", "/console/open", asked),
        PageRoute("GET", "/console/of-operators", asked, operators_only=True),
    )


@pytest.fixture(scope="module")
async def consoles(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Console]]:
    """A console of each setting, with people who have signed in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routes, "PAGES", (*routes.PAGES, pages))
        async with AsyncExitStack() as stack:
            yield {
                mode: await stack.enter_async_context(
                    open_console(
                        local_tenant,
                        tmp_path_factory.mktemp(mode),
                        AT_HTTPS,
                        console=mode,
                        operators=[LISTED],
                    )
                )
                for mode in ("people", "operators", "off")
            }


@pytest.fixture(scope="module")
async def console(consoles: dict[str, Console]) -> Console:
    return consoles["people"]


@pytest.fixture(scope="module")
async def lisa(console: Console) -> Browser:
    return await console.signed_in("lisa")


# Who sees what

OPEN, OPERATORS, SIGN_IN, SIGNED_OUT = (
    "/console/open",
    "/console/of-operators",
    "/console/sign-in",
    "/console/signed-out",
)
SEEN = {
    # setting, who: the statuses of an open page, a page of operators, signing in, and the page after signing out
    ("people", ""): (303, 303, 302, 200),
    ("people", "lisa"): (200, 404, 302, 200),
    ("people", "ada"): (200, 200, 302, 200),
    ("people", "gil"): (200, 200, 302, 200),
    ("operators", ""): (303, 303, 302, 200),
    ("operators", "lisa"): (403, 403, 302, 200),
    ("operators", "ada"): (200, 200, 302, 200),
    ("operators", "gil"): (200, 200, 302, 200),
    ("off", ""): (404, 404, 404, 404),
}


@pytest.mark.parametrize(("mode", "who"), SEEN)
async def test_the_setting_says_who_sees_pages(consoles: dict[str, Console], mode: str, who: str):
    console = consoles[mode]
    browser = await console.signed_in(who) if who else console.browser()
    paths = (OPEN, OPERATORS, SIGN_IN, SIGNED_OUT)
    assert tuple([(await browser.get(path)).status_code for path in paths]) == SEEN[mode, who]


async def test_a_person_who_is_no_operator_reads_that_and_can_sign_out(consoles: dict[str, Console]):
    browser = await consoles["operators"].signed_in("lisa")
    with capture_logs() as logs:
        page = await browser.get(OPEN)
    [line] = [line for line in logs if line["event"] == "request-refused"]
    assert (line["reason"], line["code"]) == ("operator", "forbidden")
    assert line["found"] == consoles["operators"].local.people["lisa"]
    assert line["request_id"] in page.text
    assert 'action="/base/console/sign-out"' in page.text
    assert (await browser.post("/console/sign-out")).headers["location"] == "/base/console/signed-out"


async def test_without_a_session_the_page_is_opened_after_signing_in(console: Console):
    answer = await console.browser().get("/console/open?a=1&b=%C3%A9")
    assert answer.headers["location"] == "/base/console/sign-in?to=%2Fconsole%2Fopen%3Fa%3D1%26b%3D%25C3%25A9"


async def test_a_form_without_a_session_is_not_sent_on(console: Console):
    """Browsers stop a form that is redirected to Entra, so its page has a link."""
    own = {"sec-fetch-site": "same-origin", "referer": f"{AT_HTTPS}/console/sessions"}
    answer = await console.browser().post(OPEN, own)
    assert answer.status_code == 401
    assert 'href="/base/console/sign-in?to=%2Fconsole%2Fsessions"' in answer.text


@pytest.mark.parametrize("ends", [False, True])
async def test_a_form_that_is_still_arriving_when_the_session_ends_does_nothing(console: Console, ends: bool):
    SLOWLY.update(began=asyncio.Event(), goes_on=asyncio.Event())

    async def slowly() -> AsyncIterator[bytes]:
        await SLOWLY["goes_on"].wait()
        yield b"subject=lisa"

    lisa = await console.signed_in("lisa")
    headers = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}
    sending = asyncio.create_task(lisa.client.post("/console/form", content=slowly(), headers=headers))
    await SLOWLY["began"].wait()
    if ends:
        console.execute(f"delete from sessions where id_hash = '{hash_in(lisa)}'")
    SLOWLY["goes_on"].set()
    answer = await sending
    assert (answer.status_code, "TOOK" in answer.text) == ((401, False) if ends else (200, True))


async def test_paths_that_are_not_there_are_404_in_the_frame(console: Console, lisa: Browser):
    answer = await lisa.get("/console/nothing/here")
    assert answer.status_code == 404
    assert "There is nothing at this URL." in answer.text
    assert "Lisa Moreau" in answer.text
    assert (await lisa.post("/console/nothing")).status_code == 404
    assert (await console.browser().get("/console/nothing")).status_code == 303
    assert (await lisa.get("/console/open/")).headers["location"] == "/base/console/open"


@pytest.mark.parametrize("cookie", ["", "garbage", "A" * 43])
async def test_a_cookie_that_is_no_session_is_none(console: Console, cookie: str):
    answer = await console.browser().get(OPEN, cookie=f"__Host-postern-session={cookie}")
    assert answer.status_code == 303


async def test_the_cookie_of_http_is_none_over_https(console: Console, lisa: Browser):
    answer = await console.browser().get(OPEN, cookie=f"postern-session-443={lisa.cookie()}")
    assert answer.status_code == 303


async def test_the_api_looks_at_no_cookie_and_the_console_at_no_token(console: Console, lisa: Browser):
    assert (await lisa.get("/runs")).status_code == 401
    token = console.local.token("ada")
    assert (await console.browser().get(OPEN, authorization=f"Bearer {token}")).status_code == 303
    mixed = await lisa.get(OPERATORS, authorization=f"Bearer {token}")
    assert mixed.status_code == 404


# The life of a session


async def test_a_session_ends_when_it_is_idle_and_at_last_in_any_case(console: Console):
    ends = Ends()
    for column, seconds in (("seen_at", ends.idle), ("created_at", ends.life)):
        browser = await console.signed_in("lisa")
        assert (await browser.get(OPEN)).status_code == 200
        console.execute(f"UPDATE sessions SET {column} = {time.time() - seconds} WHERE id_hash = '{hash_in(browser)}'")
        assert (await browser.get(OPEN)).status_code == 303


async def test_a_person_who_goes_on_stays_signed_in_and_a_timer_keeps_nobody(console: Console):
    browser = await console.signed_in("lisa")
    old = time.time() - 100

    def seen_at() -> float:
        return float(console.execute(f"SELECT seen_at FROM sessions WHERE id_hash = '{hash_in(browser)}'")[0][0])

    console.execute(f"UPDATE sessions SET seen_at = {old} WHERE id_hash = '{hash_in(browser)}'")
    assert (await browser.get(OPEN, **{"hx-request": "true"})).status_code == 200
    await browser.post("/console/sessions/" + "0" * 64 + "/end", CROSS_SITE)
    await console.signed_in("gil")  # its writes are after those that the first request may have queued
    assert seen_at() == pytest.approx(old)
    assert (await browser.get(OPEN)).status_code == 200
    await console.signed_in("gil")
    noted = seen_at()
    assert noted > old + 50
    assert (await browser.get(OPEN)).status_code == 200
    await console.signed_in("gil")
    assert seen_at() == noted


def hash_in(browser: Browser) -> str:
    from postern.browser_secrets import hash_of

    return hash_of(browser.cookie())


# How the request came


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://postern.example"}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "https://other.postern.example"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "https://postern.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://postern.example/base"}, 403),
        ({"referer": "https://postern.example/base/console"}, 403),
        ({"accept": "text/html"}, 403),
    ],
)
async def test_a_form_of_another_page_does_nothing(console: Console, headers: dict[str, str], status: int):
    lisa = await console.signed_in("lisa")  # from an address of its own, of which no refusal is on record
    with capture_logs() as logs:
        answer = await lisa.post(OPEN, headers)
    assert answer.status_code == status
    refused = [line for line in logs if line["event"] == "request-refused"]
    assert [line["code"] for line in refused] == ["cross-site-request"] * (status == 403)
    signing_out = await lisa.post("/console/sign-out", headers) if status == 403 else None
    if signing_out is not None:
        assert signing_out.status_code == 403
        assert (await lisa.get(OPEN)).status_code == 200


async def test_a_request_of_another_site_that_only_reads_shows_its_page(lisa: Browser):
    """A link in a mail, and the way back from Entra, are such requests."""
    answer = await lisa.get(OPEN, **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert answer.status_code == 200


async def test_plain_http_from_elsewhere_is_refused_whatever_it_brings(
    local_tenant: LocalTenant, tmp_path: Path, console: Console
):
    """A session, a sign-in and a callback; a proxy that is not trusted is elsewhere too."""
    async with open_console(local_tenant, tmp_path, AT_LOOPBACK) as at_loopback:
        here = await at_loopback.signed_in("lisa")
        assert (await here.get("/console/sessions")).status_code == 200
        cookie = f"postern-session-8080={here.cookie()}"
        far, proxied = at_loopback.browser("192.0.2.77"), at_loopback.browser()
        for browser, headers in ((far, {}), (proxied, {"x-forwarded-for": "192.0.2.9"}), (proxied, {"via": "1.1 x"})):
            for path in ("/console/sessions", "/console/sign-in", "/console/callback?state=x"):
                answer = await browser.get(path, cookie=cookie, **headers)
                assert answer.status_code == 401, (path, headers)
                assert "People sign in over https only." in answer.text
                assert "set-cookie" not in answer.headers
                assert f'href="{AT_LOOPBACK}/console"' in answer.text


# What is sent


@pytest.mark.parametrize("path", [OPEN, "/console/nothing", "/console/signed-out", "/console/sessions"])
async def test_every_page_has_the_headers(console: Console, lisa: Browser, path: str):
    answer = await lisa.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    head = await lisa.client.head(path, headers=lisa.headers)
    assert (head.status_code, head.content) == (answer.status_code, b"")
    assert {name: head.headers[name] for name in HEADERS} == HEADERS


HEADERS = {
    "content-security-policy": POLICY.format(public=AT_HTTPS),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


async def test_pages_and_policy_name_the_assets_by_origin_and_path(console: Console, lisa: Browser):
    """A workflow answers on the same origin, so `'self'` would let it provide a script."""
    answer = await lisa.get(OPEN)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" not in policy
    assert "unsafe" not in policy
    found = re.findall(r'(?:src|href)="([^"]*/assets/[^"]*)"', answer.text)
    assert found
    for url in found:
        assert url.startswith(f"{AT_HTTPS}/console/assets/")
    assert " style=" not in answer.text
    assert not re.findall(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.findall(r"\son[a-z]+=", answer.text)


async def test_assets_are_kept_by_browsers_while_their_content_is_the_same(console: Console):
    browser = console.browser()
    page = (await browser.get("/console/signed-out")).text
    url = next(url for url in re.findall(r'href="([^"]*)"', page) if url.endswith("console.css"))
    path = url.removeprefix(AT_HTTPS)
    asset = await browser.get(path)
    assert asset.status_code == 200
    assert asset.headers["content-type"] == "text/css; charset=utf-8"
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["x-content-type-options"] == "nosniff"
    of_another_version = await browser.get("/console/assets/0000000000000000/console.css")
    assert (of_another_version.status_code, of_another_version.headers["cache-control"]) == (200, "no-store")
    for missing in ("nothing.css", "..", "base.html"):
        assert (await browser.get(f"/console/assets/0000000000000000/{missing}")).status_code in (303, 404)


# Errors


@pytest.mark.parametrize(
    ("code", "status", "action"),
    [
        ("unknown-run", 404, "Go to the console"),
        ("journal-unavailable", 503, "Try again"),
        ("run-ended", 409, "Go to the console"),
    ],
)
async def test_an_error_has_the_frame_one_sentence_one_action_and_the_request_id(
    console: Console, code: str, status: int, action: str
):
    lisa = await console.signed_in("lisa")
    with capture_logs() as logs:
        answer = await lisa.get(f"{OPEN}?fails={code}")
    [line] = [line for line in logs if line["event"] == "request-refused"]
    assert answer.status_code == status
    assert line["request_id"] in answer.text
    assert problem(code).detail in answer.text
    assert answer.text.count(f">{action}<") == 1
    assert "Lisa Moreau" in answer.text


async def test_a_form_that_failed_leads_back_to_its_page(console: Console):
    """Its own URL has no page."""
    lisa = await console.signed_in("lisa")
    own = {"sec-fetch-site": "same-origin", "referer": f"{AT_HTTPS}/console/sessions?after="}
    answer = await lisa.post(f"{OPEN}?fails=journal-unavailable", own)
    assert answer.status_code == 503
    assert '<a class="button" href="/base/console/sessions?after=">Go back and try again</a>' in answer.text


async def test_what_a_signed_in_person_may_not_do_is_said_in_the_frame(console: Console):
    lisa = await console.signed_in("lisa")
    with capture_logs() as logs:
        answer = await lisa.get(f"{OPEN}?refuses=listed")
    [line] = [line for line in logs if line["event"] == "request-refused"]
    assert (answer.status_code, line["reason"], line["code"]) == (403, "listed", "forbidden")
    assert "You may not do this." in answer.text
    assert "Lisa Moreau" in answer.text
    assert "MARKER" not in answer.text


async def test_an_error_of_a_page_shows_nothing_of_itself(lisa: Browser):
    with capture_logs() as logs:
        answer = await lisa.get(f"{OPEN}?breaks=1")
    assert answer.status_code == 500
    assert "MARKER" not in answer.text
    assert [line["event"] for line in logs] == ["request-failed"]
    assert logs[0]["request_id"] in answer.text


@pytest.mark.parametrize(
    ("method", "path", "page"),
    [
        ("POST", "/console/runs/{}/cancel", "/console/runs/{id}/cancel"),
        ("POST", "/console/runs/{}", "/console/{path:path}"),
        ("POST", "/console/sessions/{}/end", "/console/sessions/{hash}/end"),
        ("GET", "/console/assets/{}/{}", "/console/assets/{version}/{name}"),
    ],
)
async def test_the_log_names_no_id_of_a_path(console: Console, method: str, path: str, page: str):
    """The id of an anonymous caller's run gives access to it, also to who reads the log."""
    run_id = new_id()
    with capture_logs() as logs:
        answer = await console.browser().client.request(method, path.format(run_id, run_id))
    assert answer.status_code in (403, 404)
    [line] = [line for line in logs if line["event"] == "request-refused"]
    assert line["page"] == page
    assert run_id not in str(logs)


async def test_a_part_of_a_page_lets_the_browser_leave_when_the_session_has_ended(console: Console, lisa: Browser):
    asked_by_script = {"hx-request": "true", "referer": f"{AT_HTTPS}/console/runs?state=Failed"}
    answer = await console.browser().get(OPEN, **asked_by_script)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/base/console/sign-in?to=%2Fconsole%2Fruns%3Fstate%3DFailed"
    for referer in ("https://evil.example/console/../x", "http://[", ""):
        answer = await console.browser().get(OPEN, **{"hx-request": "true", "referer": referer})
        assert answer.headers["hx-redirect"] == "/base/console/sign-in?to=%2Fconsole"
    assert "OPEN True" in (await lisa.get(OPEN, **asked_by_script)).text


async def test_the_error_of_a_part_is_a_part(lisa: Browser):
    answer = await lisa.get(f"{OPEN}?fails=journal-unavailable", **{"hx-request": "true"})
    assert answer.status_code == 503
    assert "<html" not in answer.text
    assert problem("journal-unavailable").detail in answer.text


@pytest.mark.parametrize("unknown", ["<script>alert(1)</script>", '"onmouseover="x'])
async def test_what_was_asked_is_escaped_where_it_is_shown(lisa: Browser, unknown: str):
    answer = await lisa.client.get("/console/sessions", params={"after": unknown}, headers=lisa.headers)
    assert answer.status_code == 400
    assert unknown not in answer.text
