"""What Chromium makes of replies of workflows at the console's origin: nothing of them runs there."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from postern.triggers.one_origin import on_one_origin
from postern.triggers.reply import ALWAYS

Headers = list[tuple[bytes, bytes]]

BODY = b"""<html xmlns="http://www.w3.org/1999/xhtml"><head><title>no script ran</title><script>
document.title = "ran at " + self.origin;
async function outcome(call) { try { return await call() } catch (error) { return error.name } }
async function reach() { return {
  reads: await outcome(async () => (await fetch("/console")).status),
  posts: await outcome(async () => (await fetch("/console", {method: "POST", body: "x"})).status),
  cookies: await outcome(() => document.cookie),
  storage: await outcome(() => localStorage.length),
  worker: await outcome(() => navigator.serviceWorker.register("/worker.js")),
} }
</script></head><body><p>a page</p></body></html>"""

PAGE, TEXT = (b"content-type", b"text/html"), (b"content-type", b"text/plain")

RUN_AT_THE_ORIGIN: dict[str, Headers] = {
    "html": [PAGE],
    "xhtml": [(b"content-type", b"application/xhtml+xml")],
    "svg": [(b"content-type", b"image/svg+xml")],
    "xml": [(b"content-type", b"text/xml")],
    "application/xml": [(b"content-type", b"application/xml; charset=utf-8")],
    "two types": [TEXT, PAGE],
    "a problem's own type": [(b"content-type", b"application/problem+json"), PAGE],
    "a list of types": [(b"content-type", b"text/plain;x, text/html")],
    "json after a space": [(b"content-type", b"text/html x+json")],
    "no type, sniffed": [(b"x-content-type-options", b"none")],
    "a policy of the author": [PAGE, (b"content-security-policy", b"sandbox allow-scripts allow-same-origin")],
}
"""Headers with which the body runs at the server's origin, if they are sent as they are."""

RUN_NOWHERE: dict[str, Headers] = {
    "json": [(b"content-type", b"application/json")],
    "text/json": [(b"content-type", b"text/json; charset=utf-8")],
    "problem": [(b"content-type", b"application/problem+json")],
    "html+json": [(b"content-type", b"text/html+json")],
    "text": [TEXT],
    "text with a type as its parameter": [(b"content-type", b"text/plain;text/html")],
    "text, sniffed": [TEXT, (b"x-content-type-options", b"none")],
}
"""Those that are not sandboxed, and need not be."""

ASKED: list[tuple[str, str | None]] = []
"""The paths that were asked for, with the session cookie."""


class Replies(BaseHTTPRequestHandler):
    """The reply of the path's name; with `?bare` its headers as they are."""

    def do_GET(self) -> None:
        name, _, query = self.path.removeprefix("/").replace("%20", " ").partition("?")
        if name != "favicon.ico":  # which Chromium asks for when it likes
            ASKED.append((self.path, self.headers["cookie"]))
        headers: Headers = {**RUN_AT_THE_ORIGIN, **RUN_NOWHERE}.get(name, [TEXT])
        self.send_response(200)
        for field, value in headers if query == "bare" else [*on_one_origin(headers), *ALWAYS]:
            self.send_header(field.decode(), value.decode())
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(browser: Browser, origin: str) -> Iterator[Page]:
    context = browser.new_context(base_url=origin)
    context.add_cookies([{"name": "session", "value": "s", "url": origin, "sameSite": "Lax"}])
    yield context.new_page()
    context.close()


def ran_at(page: Page, path: str) -> str:
    page.goto(path)
    return page.title().removeprefix("ran at ")


@pytest.mark.parametrize("name", RUN_AT_THE_ORIGIN)
def test_a_script_runs_at_an_origin_of_its_own(page: Page, origin: str, name: str):
    assert ran_at(page, f"/{name}?bare") == origin
    assert ran_at(page, f"/{name}") in ("null", "")  # nosniff alone keeps some from running


@pytest.mark.parametrize("name", RUN_NOWHERE)
def test_no_script_runs_in_json_and_text(page: Page, name: str):
    assert ran_at(page, f"/{name}") == ""


def test_a_page_in_a_sandbox_reaches_nothing_of_the_console(page: Page):
    assert ran_at(page, "/html") == "null"
    ASKED.clear()
    assert page.evaluate("reach()") == {
        "reads": "TypeError",
        "posts": "TypeError",
        "cookies": "SecurityError",
        "storage": "SecurityError",
        "worker": "SecurityError",
    }
    assert ASKED == [("/console", None), ("/console", None)]
    page.goto("/html?bare")
    assert page.evaluate("reach()") | {"worker": ""} == {
        "reads": 200,
        "posts": 200,
        "cookies": "session=s",
        "storage": 0,
        "worker": "",
    }
