"""Every page of the console: accessible, light and dark, wide and narrow, and without any error."""

from collections.abc import Callable

from playwright.sync_api import Page

from tests.process.console.chromium import Faults, assert_accessible
from tests.process.console.installation import Installation


def test_every_page_is_accessible(installation: Installation, window: Callable[..., Page], faults: Faults):
    """WCAG 2.2 AA in light at 1280 px and in dark at 360 px, where nothing scrolls sideways."""
    failed = installation.call("ask", {"text": "who knows"})
    succeeded = installation.call("quote", {"text": "who pays"})
    chain = installation.call("order", {"text": "who knows"})
    long_one = installation.call("repeat", ["a" * 40, "b " * 40, "c"], who="")
    installation.server.post("payslip", installation.tenant.token("ada"), json={"text": "mine"})
    page = window("ada")
    paths = ["", "/runs", "/runs?state=Failed", "/runs?workflow=none", f"/runs/{failed}", f"/runs/{succeeded}"]
    paths += [
        f"/runs/{long_one}",
        f"/runs/{chain}",
        f"/runs/{failed}/resubmit",
        "/refusals",
        "/workflows",
        "/workflows/ask",
    ]
    paths += ["/connections", "/secrets", "/explain", "/sessions"]
    for path in paths:
        response = page.goto(f"/console{path}")
        assert response is not None
        assert response.status == 200, path
        assert page.locator("h1").count() == 1, path
        assert_accessible(page)
    with faults.status(404):
        page.goto("/console/nowhere")
    assert_accessible(page)
