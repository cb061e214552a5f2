"""People connect, refuse, reconnect and disconnect in Chromium, at the local tenant: with and without JavaScript, by
keyboard, and by a link that an operator made."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.process.console.chromium import NARROW, Faults, assert_accessible
from tests.process.console.installation import Installation, sign_in

PAGE = "/connect/my-profile"


def press(page: Page, button: str) -> None:
    """Send a form of the page."""
    with page.expect_navigation():
        page.locator("main").get_by_role("button", name=button).first.click()


def at_tenant(page: Page, person: str, answer: str) -> None:
    """Choose a person at the local tenant, and allow or cancel what the application asks for."""
    page.wait_for_url("**/oauth2/v2.0/authorize?**")
    with page.expect_navigation():
        page.locator(f"button[value={person}]").click()
    page.get_by_role("button", name=answer).click()


def enter(page: Page, button: str) -> None:
    """Go to a button by the Tab key, and press Enter."""
    found = page.locator(button).first
    for _ in range(60):
        page.keyboard.press("Tab")
        if found.evaluate("element => element === document.activeElement"):
            return page.keyboard.press("Enter")
    raise AssertionError(f"no way to {button} by keyboard")


def state(page: Page) -> str:
    return page.locator("main .state").first.inner_text()


@pytest.fixture(autouse=True)
def disconnected(installation: Installation) -> None:
    """Nobody has connected anything."""
    for person in ("lisa", "ada"):
        token = installation.tenant.token(person)
        installation.server.client.delete("/connections/my-profile", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("script", [True, False], ids=["with-javascript", "without-javascript"])
def test_a_person_connects_in_two_clicks_uses_it_and_disconnects(
    installation: Installation, window: Callable[..., Page], script: bool
):
    page = window(java_script_enabled=script)
    sign_in(page, "lisa", "/connect")
    with page.expect_navigation():
        page.get_by_role("link", name="my-profile").click()
    assert state(page) == "Needed"
    press(page, "Connect")
    at_tenant(page, "lisa", "Allow")
    page.wait_for_url(f"**{PAGE}")
    assert state(page) == "Connected"
    if script:
        assert_accessible(page)
    press(page, "Reconnect")
    at_tenant(page, "lisa", "Allow")
    page.wait_for_url(f"**{PAGE}")
    assert state(page) == "Connected"
    press(page, "Disconnect")
    assert "is disconnected here" in page.inner_text("main")
    assert state(page) == "Needed"
    if script:
        assert_accessible(page)


def test_the_page_that_goes_on_to_the_provider_is_accessible(window: Callable[..., Page]):
    """An answer without content leaves the browser on it."""
    page = window("lisa")
    page.goto(PAGE)
    page.route("**/oauth2/v2.0/authorize?**", lambda route: route.fulfill(status=204))
    page.locator("main").get_by_role("button", name="Connect").click()
    expect(page.locator("h1")).to_have_text("To Microsoft Entra")
    assert_accessible(page)


@pytest.mark.parametrize("script", [True, False], ids=["with-javascript", "without-javascript"])
def test_a_person_who_cancels_connects_nothing(window: Callable[..., Page], faults: Faults, script: bool):
    page = window("lisa", java_script_enabled=script)
    page.goto(PAGE)
    press(page, "Connect")
    with faults.status(403):
        at_tenant(page, "lisa", "Cancel")
        expect(page.locator("h1")).to_have_text("Not connected")
    if script:
        assert_accessible(page)
    page.goto(PAGE)
    assert state(page) == "Needed"


def test_another_account_than_before_stores_nothing(window: Callable[..., Page], faults: Faults):
    page = window("lisa")
    page.goto(PAGE)
    press(page, "Connect")
    at_tenant(page, "lisa", "Allow")
    page.wait_for_url(f"**{PAGE}")
    press(page, "Reconnect")
    with faults.status(409):
        at_tenant(page, "ada", "Allow")
        expect(page.locator("h1")).to_have_text("That was another account")
    assert "Lisa Moreau" in page.inner_text("main dl")
    assert "Ada Okafor" in page.inner_text("main dl")
    assert_accessible(page)


def test_a_person_refuses_connects_reconnects_and_disconnects_by_keyboard_alone(
    window: Callable[..., Page], faults: Faults
):
    page = window("lisa")
    page.goto("/console")
    with page.expect_navigation(url="**/console/connections"):
        page.keyboard.press("g")
        page.keyboard.press("c")
    with page.expect_navigation(url=f"**{PAGE}"):
        page.keyboard.press("j")
        page.keyboard.press("Enter")

    def at_provider(button: str, answer: str) -> None:
        enter(page, f"main button:has-text('{button}')")
        page.wait_for_url("**/oauth2/v2.0/authorize?**")
        with page.expect_navigation():
            enter(page, "button[value=lisa]")
        enter(page, f"button:has-text('{answer}')")

    with faults.status(403):
        at_provider("Connect", "Cancel")
        expect(page.locator("h1")).to_have_text("Not connected")
    page.goto(PAGE)
    for button in ("Connect", "Reconnect"):
        at_provider(button, "Allow")
        page.wait_for_url(f"**{PAGE}")
        assert state(page) == "Connected"
    with page.expect_navigation():
        enter(page, "main button:has-text('Disconnect')")
    assert state(page) == "Needed"


def test_the_state_of_a_grant_is_legible_beside_its_entry_on_a_narrow_page(window: Callable[..., Page]):
    page = window("ada", viewport={"width": NARROW, "height": 800})
    page.goto("/console/connections")
    cell = page.locator("td.what", has=page.get_by_role("link", name="Your own grant"))
    assert cell.locator(".state > span").bounding_box()["width"] > 20  # type: ignore[index]
    assert cell.bounding_box()["width"] > NARROW / 2  # type: ignore[index]


def test_an_operator_makes_a_link_and_its_person_connects_with_it(window: Callable[..., Page], faults: Faults):
    """Whoever else opens it finds nothing."""
    ada = window("ada")
    ada.goto("/console/connections")
    with ada.expect_navigation():
        ada.get_by_role("link", name="Grants of people of connections.my-profile").click()
    ada.get_by_label("Person or object id").fill("lisa")
    press(ada, "Make a link")
    link = ada.locator("section.card pre").first.inner_text()
    assert "/connect/my-profile/invitation/" in link
    assert_accessible(ada)
    with faults.status(404):
        ada.goto(link)
    page = window()
    page.goto(link)
    page.locator("button[value=lisa]").click()
    page.wait_for_url("**/connect/my-profile/link/*")
    assert "asks you to connect this" in page.inner_text("main")
    assert_accessible(page)
    press(page, "Connect")
    at_tenant(page, "lisa", "Allow")
    page.wait_for_url(f"**{PAGE}")
    assert state(page) == "Connected"
    with faults.status(404):
        page.goto(link)
    ada.goto("/console/connections/connections.my-profile/people")
    assert "1 Connected" in ada.inner_text("main")
    press(ada, "Disconnect")
    assert "The grant is ended here" in ada.inner_text("main")
    assert_accessible(ada)
