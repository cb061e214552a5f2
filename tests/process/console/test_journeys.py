"""What operators and callers do in the console, in Chromium: with and without JavaScript, by keyboard alone."""

import re
from collections.abc import Callable
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from tests.process.console.chromium import Faults, assert_accessible
from tests.process.console.installation import BROKEN, Installation, sign_in, sign_out
from tests.process.servers import until

MENDED = '{"text": "who pays"}'


def follow(page: Page, role: str, name: str) -> None:
    """Click on what leads to another page."""
    with page.expect_navigation():
        page.locator("main").get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]


def go(page: Page, name: str) -> None:
    """Choose an entry of the navigation."""
    with page.expect_navigation():
        page.get_by_role("navigation", name="Console").get_by_role("link", name=name).click()


def runs_long(installation: Installation) -> str:
    """The id of a run that does not end by itself."""
    Thread(target=installation.call, args=("wait",), daemon=True).start()
    token = installation.tenant.token("ada", roles=["Postern.Operator"])

    def found() -> str:
        answer = installation.server.client.get(
            "/runs", params={"workflow": "wait", "state": "Running"}, headers={"Authorization": f"Bearer {token}"}
        )
        return next((str(run["id"]) for run in answer.json()["runs"]), "")

    return str(until(found))


@pytest.mark.parametrize("script", [True, False], ids=["with-javascript", "without-javascript"])
def test_an_operator_finds_out_why_a_run_failed_and_mends_it(
    installation: Installation, window: Callable[..., Page], script: bool
):
    """Sign in with one click, filter, open the failed run, resubmit it edited, cancel another, read a refusal, sign
    out; the page that is behind shows nothing."""
    installation.call("ask", BROKEN)
    installation.call("quote", BROKEN)
    waiting = runs_long(installation)
    installation.server.post("payslip", installation.tenant.token("ada"), json=BROKEN)
    page = window(java_script_enabled=script)
    sign_in(page, "ada")
    go(page, "Runs")
    page.get_by_label("State").select_option("Failed")
    page.get_by_label("Workflow").fill("ask")
    follow(page, "button", "Filter")
    assert "state=Failed" in page.url
    assert set(page.locator(".rows .what a").all_inner_texts()) == {"ask"}
    follow(page, "link", "ask")
    assert re.search(r"Failed\s+after .* in step ask.graph", page.locator("h1").inner_text())
    assert "no answer to 'who knows'" in page.inner_text("main")

    follow(page, "link", "Resubmit")
    page.get_by_label("Body").fill(MENDED)
    follow(page, "button", "Resubmit")
    until(lambda: page.reload() and "Succeeded" in page.locator("h1").inner_text())
    assert "the guest" in page.inner_text("main")

    page.goto(f"/console/runs/{waiting}")
    follow(page, "link", "Cancel")
    follow(page, "button", "Cancel the run")
    until(lambda: page.reload() and "Cancelled" in page.locator("h1").inner_text())

    go(page, "Refusals")
    follow(page, "link", "The caller is not on the workflow's list")
    checks = page.locator("main").inner_text()
    assert installation.tenant.people["ada"] in checks
    assert installation.tenant.people["lisa"] in checks

    sign_out(page)
    page.go_back()
    assert page.url.startswith(installation.tenant.sign_in_url)
    page.goto("/console/refusals")
    assert page.url.startswith(installation.tenant.sign_in_url)


def test_a_poll_leaves_what_was_opened_and_the_focus(installation: Installation, window: Callable[..., Page]):
    waiting = runs_long(installation)
    page = window("ada")
    page.clock.install()
    page.goto(f"/console/runs/{waiting}")
    page.get_by_text("Headers of the request").click()
    page.locator("dd .copy").nth(1).focus()
    with page.expect_response(f"**/console/runs/{waiting}?after=0"):
        page.clock.run_for(2_000)
    expect(page.locator("details.figures")).to_have_attribute("open", "")
    expect(page.locator("dd .copy").nth(1)).to_be_focused()
    page.goto(f"/console/runs/{waiting}/cancel")
    follow(page, "button", "Cancel the run")


def test_everything_is_done_by_keyboard(installation: Installation, window: Callable[..., Page]):
    """Sign in, search, open a failed run, resubmit it edited, cancel another, read a refusal, sign out."""
    installation.call("ask", BROKEN)
    waiting = runs_long(installation)
    installation.server.post("payslip", installation.tenant.token("ada"), json=BROKEN)
    page = window()
    page.goto("/console")
    with page.expect_navigation(url="**/console"):
        reach(page, "Ada Okafor")
        page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    press(page, "g", "r")
    page.keyboard.press("/")
    page.keyboard.type("who knows")
    press(page, "Enter")
    page.keyboard.press("j")
    assert focused(page) == "ask"
    press(page, "Enter")
    expect(page.locator("h1")).to_contain_text("Failed")
    reach(page, "Resubmit")
    press(page, "Enter")
    reach(page, BROKEN["text"])
    page.keyboard.press("Control+A")
    page.keyboard.type(MENDED)
    reach(page, "Resubmit")
    press(page, "Enter")
    until(lambda: page.reload() and "Succeeded" in page.locator("h1").inner_text())
    press(page, "u")
    assert page.url.endswith("/console/runs")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    reach(page, "wait", "j")
    press(page, "Enter")
    assert page.url.endswith(waiting)
    reach(page, "Cancel")
    press(page, "Enter")
    reach(page, "Cancel the run")
    press(page, "Enter")
    until(lambda: page.reload() and "Cancelled" in page.locator("h1").inner_text())
    press(page, "g", "f")
    reach(page, "not on the workflow's list", "j")
    press(page, "Enter")
    expect(page.locator("h1")).to_contain_text("not on the workflow's list")
    reach(page, "Ada Okafor")
    page.keyboard.press("Enter")
    reach(page, "Sign out")
    press(page, "Enter")
    assert page.url.endswith("/console/signed-out")


def focused(page: Page) -> str:
    """The text of the element that has the focus."""
    return str(page.evaluate("(e => (e.matches('textarea') ? e.value : e.innerText).trim())(document.activeElement)"))


def reach(page: Page, text: str, key: str = "Tab") -> None:
    """Press a key until the control with this text has the focus."""
    for _ in range(80):
        page.keyboard.press(key)
        if text in focused(page):
            return
    raise AssertionError(f"{page.url}: {key} does not lead to {text}")


def press(page: Page, *keys: str) -> None:
    """Keys, of which the last leads to another page."""
    for key in keys[:-1]:
        page.keyboard.press(key)
    with page.expect_navigation():
        page.keyboard.press(keys[-1])


def test_callers_see_their_own_runs_only(installation: Installation, window: Callable[..., Page], faults: Faults):
    """For lisa, ada's run does not exist, and neither do the pages of operators."""
    of_ada = installation.call("quote", BROKEN)
    of_lisa = installation.call("quote", BROKEN, who="lisa")
    page = window("lisa")
    page.goto("/console")
    assert_accessible(page)
    page.goto("/console/runs")
    links = page.locator(".rows .what a")
    addresses = [str(link.get_attribute("href")) for link in links.all()]
    assert any(address.endswith(of_lisa) for address in addresses)
    assert not any(address.endswith(of_ada) for address in addresses)
    assert page.get_by_role("navigation", name="Console").get_by_role("link").all_inner_texts() == [
        "Home",
        "Runs",
        "Approvals",
        "Connections",
    ]
    hidden = (f"runs/{of_ada}", f"runs/{of_ada}/resubmit", f"runs/{of_ada}/cancel", "refusals", "workflows", "secrets")
    for path in hidden:
        with faults.status(404):
            assert page.goto(f"/console/{path}").status == 404  # type: ignore[union-attr]
        assert page.locator("nav[aria-label=Console]").is_visible()


def test_a_list_says_that_there_are_newer_runs_until_the_session_ends(
    installation: Installation, window: Callable[..., Page], faults: Faults
):
    """It asks every ten seconds. What it says is a link, no row moves, and an ended session leads to the sign-in."""
    installation.call("quote", BROKEN)
    page = window("lisa")
    page.clock.install()
    page.goto("/console/runs")
    before = page.locator(".rows .what a").count()
    for _ in range(2):
        installation.call("quote", BROKEN, who="lisa")
    with page.expect_response("**/console/runs/new?*"):
        page.clock.run_for(11_000)
    expect(page.locator("#news a")).to_contain_text("2 newer runs")
    assert page.locator(".rows .what a").count() == before
    follow(page, "link", "2 newer runs")
    assert page.locator(".rows .what a").count() == before + 2
    page.context.clear_cookies()
    with faults.status(401), page.expect_navigation(url=f"{installation.tenant.sign_in_url}/**"):
        page.clock.run_for(11_000)


def test_a_person_decides_by_keyboard_and_without_javascript(installation: Installation, window: Callable[..., Page]):
    """The run goes on with the decision, and its record says who gave it."""
    run = installation.call("expense", BROKEN, "ada")
    page = window("lisa", java_script_enabled=False)
    until(lambda: page.goto("/console/approvals") and page.locator("textarea").count() == 1)
    assert page.locator("nav .badge").inner_text().split() == ["1", "for", "you"]
    page.get_by_label("Comment").focus()
    page.keyboard.type("Well spent")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text().startswith("Approve")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert f"/console/approvals/{run}/manager?number=" in page.url
    assert "You approved this." in page.inner_text("main")
    operator = window("ada", java_script_enabled=False)
    until(lambda: operator.goto(f"/console/runs/{run}") and "Succeeded" in operator.locator("h1").inner_text())
    assert re.search(r"approved.*by Lisa", operator.inner_text("section[aria-labelledby=durable]"), re.DOTALL)
    assert "approved: Well spent" in operator.inner_text("main")


def test_an_operator_resumes_a_run_that_failed(installation: Installation, window: Callable[..., Page]):
    run = installation.call("bound-to-fail", "no")
    page = window("ada", java_script_enabled=False)
    until(lambda: page.goto(f"/console/runs/{run}") and "Failed" in page.locator("h1").inner_text())
    follow(page, "link", "Resume")
    follow(page, "button", "Resume from the start")
    until(lambda: page.goto(f"/console/runs/{run}") and "Failed" in page.locator("h1").inner_text())
    part = page.inner_text("section[aria-labelledby=durable]")
    assert re.search(r"Attempt\s+2", part)
    assert "Resumed by" in part


def test_a_run_goes_on_by_a_signal_of_the_console(installation: Installation, window: Callable[..., Page]):
    run = installation.call("delivery")
    page = window("ada", java_script_enabled=False)
    page.goto(f"/console/runs/{run}")
    follow(page, "link", "Send a signal")
    page.get_by_label("Name").fill("delivered")
    page.get_by_label("JSON").fill('{"door": 7}')
    follow(page, "button", "Send the signal")
    until(lambda: page.reload() and "Succeeded" in page.locator("h1").inner_text())
    assert "door" not in page.inner_text("main")
