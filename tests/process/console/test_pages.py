"""Every page is accessible, in light and dark, wide and narrow, and nothing goes wrong on it: the console's, the local
tenant's, and the documentation of workflows."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from httpx2 import Client, HTTPTransport
from playwright.sync_api import Browser, Page, expect

from tests.process.console.chromium import NARROW, WIDE, Faults, Scheme, assert_accessible, violations
from tests.process.console.installation import BROKEN, Installation
from tests.process.servers import ROOT, until

CONSOLE = Path(ROOT, "app", "postern", "console")
GET = re.compile(r'PageRoute\(\s*"GET", "([^"]+)", self\.(?!back\b)')  # `back` leads to another page
FRAGMENTS = {"/console/runs/new", "/console/access.csv"}
"""Parts of pages, and files."""
CALLBACK = "/connect/my-profile/callback"
STATUS = {
    "/runs?state=none": 400,
    "/audit?kind=none": 400,
    "/revocations?after=x": 400,
    "/nowhere": 404,
    CALLBACK: 400,
    f"/connect/my-profile/link/{'a' * 64}": 404,
}

SCHEMES: tuple[Scheme, ...] = ("light", "dark")
EVERY_VIEW = tuple((scheme, width) for scheme in SCHEMES for width in (WIDE, NARROW))
WRONG = """<!doctype html><html lang="en"><title>Wrong</title>
<meta http-equiv="content-security-policy" content="script-src 'nonce-a'">
<main><h1>Wrong</h1><p style="color: #aaa; background: #fff">pale</p><img src="data:,"></main>
<script>window.owned = true</script><script nonce="a">alert("hello"); undefined_name();</script>"""


def authorize(installation: Installation, **changes: str) -> str:
    """The address of the page where people choose who they are."""
    tenant = installation.tenant
    parameters = {
        "client_id": tenant.client_id,
        "response_type": "code",
        "redirect_uri": f"{installation.server.address}/console/callback",
        "scope": "openid profile",
        "state": "a",
        "code_challenge": "a" * 43,
        "code_challenge_method": "S256",
        **changes,
    }
    return f"{tenant.sign_in_url}/{tenant.tenant_id}/oauth2/v2.0/authorize?{urlencode(parameters)}"


def test_pages_of_the_local_tenant_are_accessible(
    window: Callable[..., Page], installation: Installation, faults: Faults
):
    """Choosing a person, consent with many scopes, an error, and the end of the session."""
    page = window()
    page.goto(authorize(installation))
    assert page.locator("button").count() == 4
    assert_accessible(page, *EVERY_VIEW)
    page.goto(
        authorize(
            installation, scope="openid offline_access User.Read Mail.ReadWrite https://graph.microsoft.com/A-long-one"
        )
    )
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("postern asks for your permission")
    assert page.locator("button").all_inner_texts() == ["Allow", "Cancel"]
    assert_accessible(page, *EVERY_VIEW)
    with faults.status(400):
        page.goto(authorize(installation, redirect_uri="https://elsewhere.example/"))
    assert "AADSTS50011" in page.inner_text("main")
    assert_accessible(page, *EVERY_VIEW)
    tenant = installation.tenant
    page.goto(f"{tenant.sign_in_url}/{tenant.tenant_id}/oauth2/v2.0/logout")
    assert_accessible(page)


def test_the_documentation_is_accessible(window: Callable[..., Page]):
    page = window()
    page.goto("/docs")
    assert page.title()
    assert_accessible(page, *EVERY_VIEW)


@pytest.fixture
def paths(installation: Installation) -> list[str]:
    """Every page of the console that is read, where there is something to show."""
    failed = installation.call("ask", BROKEN)
    others = [installation.call(name, BROKEN) for name in ("quote", "order")]
    others.append(installation.call("repeat", ["a" * 40, "b " * 40, "c"], who=""))
    refused = installation.server.post("payslip", installation.tenant.token("ada"), json=BROKEN).json()["request_id"]
    found = found_in_two_networks(installation)
    mine, theirs = (installation.call("expense", BROKEN, who) for who in ("ada", "lisa"))
    delivery, failing = installation.call("delivery"), installation.call("bound-to-fail", "no")
    parked = parked_run(installation)
    return [
        *("", "/runs", "/runs?state=Failed", "/runs?workflow=none&text=none", "/runs?state=none", f"/runs/{failed}"),
        *(f"/runs/{run}" for run in others),
        *(f"/approvals/{run}/manager" for run in (theirs, mine)),
        *("/approvals", "/runs/parked", f"/runs/{parked}", f"/runs/{mine}", f"/runs/{failing}"),
        *(f"/runs/{failing}/resume", f"/runs/{delivery}/signal"),
        *(f"/runs/{failed}/resubmit", f"/runs/{failed}/cancel", "/runs/resubmit?state=Failed"),
        *("/refusals", f"/refusals/{refused}", "/workflows", "/workflows/ask", "/connections", "/gateways", "/secrets"),
        *("/audit", "/audit?kind=admission&who=ada&since=1h", "/audit?kind=none", "/signed-urls"),
        *("/access", "/access?mark=unused&text=nobody"),
        *("/explain", "/explain?workflow=payslip&person=ada", "/sessions", "/nowhere"),
        *("/findings?state=new", "/findings", f"/findings/{found}", f"/findings/{found}/revoke"),
        *("/revocations", "/revocations?kind=caller&subject=x&reason=odd", "/revocations?after=x"),
        *("/connections/connections.my-profile/people", "/connect", "/connect/my-profile"),
        *(path for path in STATUS if path.startswith("/connect/")),
    ]


def parked_run(installation: Installation) -> str:
    """The id of a run that is parked, as after a restore."""
    run = installation.call("delivery")
    parked = "UPDATE durable_runs SET phase = 'parked', reason = 'restored', owner = NULL WHERE run_id = ?"
    with closing(sqlite3.connect(installation.server.folder / "var" / "postern.db")) as database, database:
        assert database.execute(parked, (run,)).rowcount == 1
    return run


def found_in_two_networks(installation: Installation) -> str:
    """The id of a finding: one token is used from two networks of this machine."""
    token = {"Authorization": f"Bearer {installation.tenant.token('ada')}"}
    address = installation.server.address
    for network in ("127.0.0.1", "127.1.0.1"):
        with Client(transport=HTTPTransport(local_address=network)) as client:
            client.post(f"{address}/triggers/ask", headers=token, json=BROKEN)

    def ids() -> list[str]:
        with Client() as client:
            findings = client.get(f"{address}/findings", headers=token).json()["findings"]
        return [each["id"] for each in findings]

    until(lambda: bool(ids()))
    return ids()[0]


def whole(path: str) -> str:
    """A path of the console, or of the pages of consent beside it."""
    return path if path == "/connect" or path.startswith("/connect/") else f"/console{path}"


def answers(page: Page, path: str) -> bool:
    """Open a page. A refusal is recorded soon after its reply, and has no page before."""
    response = page.goto(whole(path))
    return response is not None and response.status == STATUS.get(path, 200)


def test_every_page_of_the_console_is_accessible(window: Callable[..., Page], faults: Faults, paths: list[str]):
    """WCAG 2.2 AA in light at 1280 px and in dark at 360 px, where nothing scrolls sideways."""
    page = window("ada")
    page.add_init_script(AXE_SCRIPT)  # to send it to each page takes a tenth of the time of all
    for path in paths:
        with faults.any_status():
            until(partial(answers, page, path))
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, path
        assert_accessible(page)
    routes = {route for file in CONSOLE.glob("*.py") for route in GET.findall(file.read_text("utf-8"))}
    patterns = [re.sub(r"\{\w+\}", "[^/]+", route) for route in routes - FRAGMENTS]
    assert len(patterns) >= 13
    seen = [whole(path).partition("?")[0] for path in paths]
    assert [each for each in patterns if not any(re.fullmatch(each, path) for path in seen)] == []


def test_what_a_form_answers_is_accessible(window: Callable[..., Page], installation: Installation, faults: Faults):
    """A test of a connection, secrets that are read now, a token that is explained, a body that is not valid, and the
    menu of keys."""
    run = installation.call("quote", BROKEN)
    page = window("ada")
    page.goto("/console/explain")
    page.locator("main form[method=post] select").select_option("payslip")
    page.get_by_label("Access token").fill(installation.tenant.token("ada", expired=True))
    sent(page, "Explain the token")
    assert "rejects this caller" in page.inner_text("main")
    page.goto("/console/connections")
    sent(page, "Test connections.orders")
    page.goto("/console/secrets")
    sent(page, "Read all now")
    asked = f"/console/approvals/{installation.call('expense', BROKEN, 'lisa')}/manager"
    with faults.any_status():
        until(lambda: page.goto(asked) and page.locator("textarea").count() == 1)
    page.get_by_label("Comment").fill("fine")
    sent(page, "Approve manager of expense")
    assert "You approved this." in page.inner_text("main")
    page.goto("/console/signed-urls")
    page.get_by_label("Id, such as").fill("partner-x")
    sent(page, "Make a signed URL")
    assert installation.server.address in page.inner_text("pre")
    page.get_by_label("Id, such as").fill("partner-x")
    with faults.status(409):
        sent(page, "Make a signed URL")
    sent(page, "Revoke partner-x of partner")
    page.goto(f"/console/runs/{run}/resubmit")
    page.get_by_label("Body").fill('{"text": 1}')
    with faults.status(409):
        sent(page, "Resubmit")
    assert "/text" in page.inner_text("#errors")
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    assert_accessible(page)


def sent(page: Page, button: str) -> None:
    """Send a form, and try the page that answers."""
    with page.expect_navigation():
        page.locator("main").get_by_role("button", name=button).click()
    assert page.locator("h1").count() == 1
    assert_accessible(page)


def test_what_is_wrong_with_a_page_is_found(browser: Browser):
    """The tests of the console hold only if errors, policy violations, dialogs and axe's rules are noticed."""
    faults = Faults()
    with browser.new_context() as context:
        page = faults.watch(context.new_page())
        page.route("**/*", lambda route: route.fulfill(body=WRONG, content_type="text/html", status=404))
        page.goto("http://wrong.example/")
        assert not page.evaluate("window.owned")
        found = "\n".join(violations(page))
    assert [rule in found for rule in ("color-contrast", "image-alt")] == [True, True], found
    for sign in ("status of 404", "Content Security Policy", "dialog 'hello'", "undefined_name is not defined"):
        assert sum(sign in each for each in faults.found) == 1, (sign, faults.found)
    with pytest.raises(AssertionError, match="500"), faults.status(404):
        faults.found.append("Failed to load resource: the server responded with a status of 500 ()")


SEEN = """<!doctype html><html lang="en"><title>Seen</title><style>{changes}</style>
<main><h1>Seen</h1><p class="a-test">first</p><p class="a-test">second</p>
<section style="{style}"><p class="a-test">third</p></section></main>"""
OTHER_COLOURS = [
    ("color: #aaa", ""),
    ("background: #555", ""),
    ("opacity: .4", ""),
    ("", ".a-test { color: #aaa }"),
    ("", "p + p { background: #555 }"),
    ("", "@media (prefers-color-scheme: dark) { main { background: #111 } }"),
    ("", "@media (width < 400px) { main { color: #ccc } }"),
]


def test_a_text_is_looked_at_again_in_other_colours(browser: Browser):
    """The same page has passed before."""

    def passes(style: str, changes: str) -> bool:
        page.set_content(SEEN.format(style=style, changes=changes))
        try:
            assert_accessible(page)
        except AssertionError as found:
            assert "color-contrast" in str(found)
            return False
        return True

    with browser.new_context() as context:
        page = context.new_page()
        assert passes("", "")
        assert [each for each in OTHER_COLOURS if passes(*each)] == []
        assert passes("", "")
