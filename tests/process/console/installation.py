"""A `postern dev` whose workflows succeed, fail, take long, are secured, and answer with hostile pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.process.servers import Server, running

WORKFLOWS = Path(__file__).with_name("workflows")
BROKEN = {"text": "who knows"}
"""A question that has no answer."""
SETTINGS = """
[connections.orders]
base_url = "https://orders.example/v2"
auth = { type = "api_key", header = "X-Api-Key", key = { key_vault = "orders-key" } }
"""


@dataclass
class Installation:
    """`states` has the cookies of each person who has signed in."""

    server: Server
    tenant: LocalTenant
    states: dict[str, Any] = field(default_factory=dict)

    def call(self, workflow: str, body: Any = None, who: str = "ada") -> str:
        """Run a workflow to its end; the id of the run."""
        token = self.tenant.token(who) if who else ""
        answer = self.server.post(workflow, token, json=body)
        return str(answer.headers["x-run-id"])

    def signed_in(self, browser: Browser, person: str) -> Any:
        """The cookies of a browser in which the person has signed in."""
        if person not in self.states:
            with browser.new_context(base_url=self.server.address) as context:
                sign_in(context.new_page(), person, "/console/sessions")
                self.states[person] = context.storage_state()
        return self.states[person]


def sign_in(page: Page, person: str, to: str = "/console") -> None:
    """Open a page of the console, and choose who to sign in as on the page of the local tenant."""
    page.goto(to)
    with page.expect_navigation(url=f"**{to}"):
        page.locator(f"button[value={person}]").click()


def sign_out(page: Page) -> None:
    """Sign out by the menu of the person."""
    page.locator("details.who summary").click()
    with page.expect_navigation(url="**/console/signed-out"):
        page.get_by_role("button", name="Sign out").click()


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    """The process while the block runs."""
    shutil.copytree(WORKFLOWS, folder / "workflows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "postern.toml").write_text(SETTINGS, encoding="utf-8")
    with running("dev", folder, {"POSTERN_PORT": "0"}) as server:
        yield Installation(server, LocalTenant.open(folder / STATE_FOLDER))
        server.process.kill()  # its calls leave idle connections, for which it would wait
