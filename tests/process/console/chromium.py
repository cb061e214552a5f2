"""Debian's Chromium, driven by Playwright, and what must not happen on a page: errors, violations of the policy,
dialogs, sideways scrolling, and what axe finds."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, sync_playwright

from tests.process.servers import until
from tests.tools import needed

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
"""The rules of WCAG 2.2, levels A and AA."""

WIDE = 1280
NARROW = 360
Scheme = Literal["light", "dark"]

_OPTIONS = {"runOnly": {"type": "tag", "values": list(WCAG)}, "resultTypes": ["violations"], "preload": False}
_LOOK = """([options, seen]) => {
    const looks = ["color", "backgroundColor", "backgroundImage", "opacity", "filter", "mixBlendMode", "textShadow",
        "fontSize", "fontWeight", "position"];
    const hash = text => {
        let high = 1, low = 2;
        for (let at = 0; at < text.length; at++) {
            high = Math.imul(high, 31) ^ text.charCodeAt(at);
            low = Math.imul(low, 37) ^ text.charCodeAt(at);
        }
        return (high >>> 0) * 2 ** 21 + (low >>> 11);
    };
    const known = new Map([[null, 0]]);
    const appearance = element => {
        if (!known.has(element)) {
            const style = getComputedStyle(element);
            const own = [element.tagName, element.className, element.matches(":disabled")];
            const its = [appearance(element.parentElement), ...own, ...looks.map(name => style[name])];
            known.set(element, hash(its.join()));
        }
        return known.get(element);
    };
    const hasText = element => element.matches("input, select, textarea")
        || [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const isShown = element => element.checkVisibility({visibilityProperty: true, opacityProperty: true});
    const all = new Set(seen);
    for (const element of document.querySelectorAll("*")) {
        const isUnseen = hasText(element) && isShown(element) && !all.has(appearance(element));
        element.toggleAttribute("data-unseen", isUnseen);
        if (isUnseen) all.add(appearance(element));
    }
    axe.configure({rules: [{id: "color-contrast", selector: "[data-unseen]"}]});
    return axe.run(options).then(result => [result.violations, [...all]]);
}"""
"""Runs axe. Two thirds of its time are colour contrast, so it looks at one text of each appearance: the colours, the
size and the elements around it. It returns the violations, and the appearances that it has seen by now."""

_SEEN: list[int] = []
"""The appearances without a violation, on all pages of this process."""

_STATUS = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser: the program that POSTERN_TEST_CHROMIUM names, or one of Debian's on the PATH. That without windows
    takes a third of the time. The driver runs an event loop in this thread: no asynchronous test can run meanwhile."""
    found = os.environ.get("POSTERN_TEST_CHROMIUM") or shutil.which("chromium-headless-shell")
    program = found or needed("chromium")
    options = ["--in-process-gpu"]  # a process less, and a tenth of the time of a page
    if not os.geteuid():
        options.append("--no-sandbox")  # Chromium has none for root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


class Faults:
    """What went wrong on the pages that are watched."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._pages: list[Page] = []

    def watch(self, page: Page) -> Page:
        """Chromium reports each violation of a Content-Security-Policy as an error of the console."""
        self._pages.append(page)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"{page.url}: {error}"))
        page.on("dialog", self._dialog)
        return page

    @contextmanager
    def status(self, *expected: int) -> Iterator[None]:
        """Each of these statuses is answered once while the block runs. Chromium reports those from 400 on as errors of
        the console."""
        before = len(self.found)
        yield
        until(lambda: len(self._statuses(before)) >= len(expected), 5, lambda: str(self.found[before:]))
        assert sorted(self._statuses(before)) == sorted(expected), self.found[before:]
        self._drop_statuses(before)

    @contextmanager
    def any_status(self) -> Iterator[None]:
        """The same, for whatever statuses."""
        before = len(self.found)
        yield
        self.settle()
        self._drop_statuses(before)

    def settle(self) -> None:
        """Learn what the pages have reported: each answers a call after that."""
        for page in self._pages:
            if not page.is_closed():
                with suppress(Error):  # it is on its way to another page
                    page.evaluate("0")

    def _statuses(self, before: int) -> list[int]:
        self.settle()
        return [int(match[1]) for each in self.found[before:] if (match := _STATUS.search(each))]

    def _drop_statuses(self, before: int) -> None:
        self.found[before:] = [each for each in self.found[before:] if not _STATUS.search(each)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.found.append(f"{message.location['url']}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.found.append(f"{dialog.page.url if dialog.page else ''}: dialog {dialog.message!r}")
        dialog.dismiss()


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it is shown now, in a sentence each: the rule, where it is broken, and why."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found, seen = page.evaluate(_LOOK, [_OPTIONS, _SEEN])
    if not found:
        _SEEN[:] = seen
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}\n    {' '.join(map(str, node['target']))}\n"
        f"    {node['html'][:200]}\n    {_why(node)}"
        for rule in found
        for node in rule["nodes"]
    ]


def assert_accessible(page: Page, *views: tuple[Scheme, int]) -> None:
    """The page passes WCAG 2.2 AA and does not scroll sideways, in each colour scheme with each width. It must be one
    that runs JavaScript, without which axe never ends."""
    found = []
    for scheme, width in views or (("light", WIDE), ("dark", NARROW)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 800})
        if wide := overflow(page):
            found.append(f"{scheme}, {width} px: {wide} px wide")
        found += [f"{scheme}, {width} px: {each}" for each in violations(page)]
    page.set_viewport_size({"width": WIDE, "height": 800})
    assert not found, "\n".join([page.url, *found])


def overflow(page: Page) -> int:
    """How many pixels wide the page is, if it is wider than the window; otherwise 0."""
    root: list[int] = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    return root[0] if root[0] > root[1] else 0


def _why(node: dict[str, Any]) -> str:
    return "; ".join(each["message"] for each in (*node["any"], *node["all"], *node["none"]))
