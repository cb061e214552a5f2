"""What Chromium lets pages of other origins read of a trigger (CORS)."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.process.servers import Server, running

WORKFLOWS = """
from postern import Reply, anonymous, tenant_users, workflow

@workflow(access=tenant_users(), methods=["PUT"], origins=["{app}"])
async def order(ctx, body: dict) -> Reply:
    return Reply(200, "ordered", {{"X-Shelf": "7"}})

@workflow(access=anonymous())
async def hidden(ctx):
    return "secret"
"""

PAGE = b"""<!doctype html><html lang="en"><title>App</title><script>
async function reach(url, options) {
  try {
    const answer = await fetch(url, options);
    return [answer.status, await answer.json().then((found) => found.code || found), answer.headers.get("x-shelf"),
      answer.headers.get("x-run-id") !== null];
  } catch (error) { return error.name; }
}
</script></html>"""


class Pages(BaseHTTPRequestHandler):
    """A page with a script that calls."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args: Any) -> None: ...


@dataclass(frozen=True)
class Origins:
    """The server, its tenant, and two origins with the same page: the workflow names the first one."""

    server: Server
    tenant: LocalTenant
    app: str
    other: str

    @property
    def order(self) -> str:
        return f"{self.server.address}/triggers/order"


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origins]:
    folder = tmp_path_factory.mktemp("origins")
    sites = [ThreadingHTTPServer(("127.0.0.1", 0), Pages) for _ in range(2)]
    for site in sites:
        threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
    app, other = (f"http://127.0.0.1:{site.server_port}" for site in sites)
    (folder / "workflows").mkdir()
    (folder / "workflows" / "orders.py").write_text(WORKFLOWS.format(app=app), encoding="utf-8")
    with running("dev", folder, {"POSTERN_PORT": "0"}) as server:
        yield Origins(server, LocalTenant.open(folder / STATE_FOLDER), app, other)
        server.process.kill()  # the browser leaves idle connections, for which it would wait
    for site in sites:
        site.shutdown()
        site.server_close()


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def reach(page: Page, origin: str, url: str, **options: Any) -> Any:
    page.goto(f"{origin}/")
    return page.evaluate("([url, options]) => reach(url, options)", [url, options])


def put(token: str, **more: Any) -> dict[str, Any]:
    """A request for which a browser asks first."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", "Idempotency-Key": "one"}
    return {"method": "PUT", "headers": headers, "body": "{}", **more}


def test_a_page_of_a_named_origin_calls_the_trigger_and_reads_replies_and_problems(origins: Origins, page: Page):
    good, bad = put(origins.tenant.token("lisa")), put("x")
    assert reach(page, origins.app, origins.order, **good) == [200, "ordered", "7", True]
    assert reach(page, origins.app, origins.order, **bad)[:2] == [401, "unauthenticated"]
    assert reach(page, origins.app, origins.order, method="POST")[:2] == [405, "method-not-allowed"]


def test_no_other_page_reads_anything_and_none_uses_the_browsers_credentials(origins: Origins, page: Page):
    good = put(origins.tenant.token("lisa"))
    assert reach(page, origins.other, origins.order, **good) == "TypeError"
    assert reach(page, origins.other, origins.order, method="POST") == "TypeError"
    assert reach(page, origins.app, origins.order, **good, credentials="include") == "TypeError"
    assert reach(page, origins.app, f"{origins.server.address}/triggers/hidden", method="POST") == "TypeError"
    assert reach(page, origins.app, f"{origins.server.address}/workflows") == "TypeError"
