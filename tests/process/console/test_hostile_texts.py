"""Hostile texts of authors, callers, people and other systems run nowhere in the console, and a workflow's own page
cannot use it."""

import base64
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, Response

from tests.process.console.chromium import Faults
from tests.process.console.corpus import CORPUS, assert_not_owned
from tests.process.console.installation import Installation
from tests.process.servers import until

SCRIPT, IMAGE, *_ = CORPUS
SECRET = "Zanzibar-4711"


def forged(**claims: Any) -> str:
    """A token with these claims that nobody signed."""
    parts = ({"alg": "RS256", "typ": "JWT", "kid": SCRIPT}, claims)
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts), "AA"]
    )


@pytest.fixture(scope="module")
def runs(installation: Installation) -> list[str]:
    """The ids of runs that are full of the corpus: in bodies, names of steps, types and messages of errors, and names
    of callers. Refused requests have it in their tokens."""
    server, tenant = installation.server, installation.tenant
    called = tenant.mint({**tenant.claims("ada"), "name": IMAGE, "preferred_username": SCRIPT})
    unknown = forged(**dict.fromkeys(("roles", "aud"), CORPUS), name=SCRIPT, oid=IMAGE, tid=SCRIPT, iss=IMAGE)
    elsewhere = tenant.mint({**tenant.claims("lisa"), "name": SCRIPT, "aud": IMAGE, "scp": SCRIPT, "roles": CORPUS})
    for token in (unknown, elsewhere):
        assert server.post("quote", token, json={"text": SCRIPT}).status_code == 401
    answers = [
        server.post("repeat", json=CORPUS),
        *(server.post("upset", json=text) for text in CORPUS[:4]),
        server.post("quote", called, json={"text": SCRIPT}, headers={"User-Agent": SCRIPT, "Idempotency-Key": "<b>"}),
        server.client.get("/triggers/board"),
    ]
    return [answer.headers["x-run-id"] for answer in answers]


def opened(page: Page, path: str) -> Response:
    """The response to a page of the console, which shows no element of the corpus."""
    response = page.goto(path)
    assert response is not None
    assert_not_owned(page)
    return response


def test_no_text_runs(installation: Installation, window: Callable[..., Page], faults: Faults, runs: list[str]):
    page = window("ada")
    for run in runs:
        assert opened(page, f"/console/runs/{run}").status == 200
    opened(page, f"/console/runs/{runs[0]}")
    shown = page.inner_text("main")
    assert [
        text for text in CORPUS if text.isascii() and json.dumps(text)[1:-1] not in shown and text not in shown
    ] == []
    for run in runs[:2]:
        assert opened(page, f"/console/runs/{run}/resubmit").status == 200
    for path in (
        "",
        "/runs",
        "/refusals",
        "/workflows",
        "/workflows/repeat",
        "/workflows/upset",
        "/connections",
        "/secrets",
    ):
        assert opened(page, f"/console{path}").status == 200, path
    opened(page, "/console/refusals")
    addresses = [link.get_attribute("href") for link in page.locator(".rows .what a").all()][:2]
    assert len(addresses) == 2
    for address in addresses:
        assert opened(page, str(address)).status == 200


def test_no_text_of_an_approval_runs(installation: Installation, window: Callable[..., Page], faults: Faults):
    """Its data, which a caller chose, and the comment of the person who decides."""
    run = installation.call("expense", CORPUS, "lisa")
    page, path = window("ada"), f"/console/approvals/{run}/manager"
    with faults.any_status():
        until(lambda: page.goto(path) and page.locator("textarea").count() == 1)
    for shown in ("/console/approvals", path):
        assert opened(page, shown).status == 200
    page.get_by_label("Comment").fill("\n".join(CORPUS)[:1000])
    with page.expect_navigation():
        page.get_by_role("button", name="Reject").click()
    assert "You rejected this." in page.inner_text("main")
    for shown in (page.url, "/console/approvals", f"/console/runs/{run}"):
        opened(page, shown)
        assert "alert('attribute')" in page.inner_text("main")


def test_no_text_of_a_url_runs(window: Callable[..., Page], faults: Faults):
    page = window("ada")
    for text in CORPUS[:8]:
        filters = urlencode(
            {"text": text, "workflow": text, "state": text, "caller": text, "since": text, "cursor": text}
        )
        for path in (f"runs?{filters}", f"refusals?{filters}", f"explain?{filters}"):
            with faults.any_status():
                opened(page, f"/console/{path}")
        with faults.any_status():
            opened(page, f"/console/callback?{urlencode({'error': text, 'error_description': text, 'state': text})}")


def test_a_pasted_token_and_a_persons_name_run_nowhere(
    installation: Installation, window: Callable[..., Page], faults: Faults
):
    page = window("ada")
    page.goto("/console/explain")
    page.get_by_label("Access token").fill(forged(name=SCRIPT, oid=IMAGE, aud=CORPUS, iss=SCRIPT))
    page.locator("main form[method=post] select").select_option("quote")
    with page.expect_navigation(), faults.any_status():
        page.locator("main").get_by_role("button", name="Explain the token").click()
    assert_not_owned(page)
    with closing(sqlite3.connect(installation.server.folder / "var" / "postern.db")) as database, database:
        database.execute("UPDATE sessions SET name = ?", [SCRIPT])
    for path in ("", "/sessions"):
        opened(page, f"/console{path}")
        assert SCRIPT in page.inner_text("body")


def test_the_page_of_a_workflow_cannot_use_the_console(window: Callable[..., Page]):
    """Its script runs, but reads no page and no cookie, and what it posts is refused: the person stays signed in."""
    page = window("ada")
    page.goto("/console")
    board = page.context.new_page()  # where errors are expected
    board.goto("/triggers/board")
    board.wait_for_function("document.title.startsWith('{')")
    assert json.loads(board.title()) == dict.fromkeys(("read", "post", "cookies", "storage"), "refused")
    with board.expect_response("**/console/sign-out") as posted:
        board.evaluate("document.forms[0].submit()")
    assert posted.value.status == 403
    page.reload()
    assert page.url.endswith("/console")
    assert page.locator("details.who").is_visible()


def test_secured_bodies_are_on_no_page(installation: Installation, window: Callable[..., Page]):
    run = installation.call("payslip", {"text": SECRET}, who="lisa")
    page = window("ada")
    for path in ("", "/runs", f"/runs?text={SECRET}", f"/runs/{run}", f"/runs/{run}/resubmit", "/workflows/payslip"):
        page.goto(f"/console{path}")
        text = page.content().replace(f"text={SECRET}", "").replace(f'value="{SECRET}"', "")
        assert SECRET[::-1] not in text, path
        assert SECRET not in text or path.startswith("/runs?"), path
