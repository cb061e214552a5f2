"""A console with connections at a strict provider, and what people do to connect them."""

import html
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postern.http_client import Response
from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_LOOPBACK, Browser, Console, open_console
from tests.strict_provider import CLIENT_ID, CLIENT_SECRET, StrictProvider

KEY = "test-grants-key"
SECRET = "test-strict-secret"
WORKFLOWS = """
from postern import Context, anonymous, tenant_users, workflow

@workflow(access=anonymous(), connections=("tickets",))
async def open_ticket(ctx: Context) -> str:
    return "opened"

@workflow(access=tenant_users())
async def read_ticket(ctx: Context) -> int:
    return (await ctx.connection("tickets").get("/")).status_code

@workflow(access=tenant_users())
async def read_account(ctx: Context) -> str:
    found = await ctx.connection("notes").get("/me")
    return found.json().get("account", str(found.status_code))

@workflow(access=tenant_users())
async def read_wiki(ctx: Context) -> int:
    return (await ctx.connection("shared").get("/")).status_code
"""
_ONWARD = re.compile(r'http-equiv="refresh" content="0;url=([^"]+)"')


@dataclass
class Installation:
    """A server, and the provider of its connections: `tickets` and `notes` for each person, `shared`, and `named`,
    whose provider promises to say who it is."""

    console: Console
    provider: StrictProvider
    tenant: LocalTenant

    def owner(self, who: str) -> str:
        """The owner of this person's grants."""
        return f"{self.tenant.tenant_id}/{self.tenant.people[who]}"

    async def begin(self, browser: Browser, name: str = "tickets", path: str = "", **fields: str) -> str:
        """Send the form of a connection's page. Returns where at the provider the browser is sent."""
        answered = await browser.post(path or f"/connect/{name}", data={"return_to": "", **fields})
        assert answered.status_code == 200, answered.text
        return onward(answered)

    async def agree(self, at_provider: str) -> str:
        """Agree there (or what its rules say). Returns the path and query of the callback."""
        answered = await self.console.entra.get(at_provider)
        assert answered.status_code == 302, answered.text
        location = str(answered.headers["location"])
        assert location.startswith(f"{self.console.address}/connect/")
        return location.removeprefix(self.console.address)

    async def connect(self, browser: Browser, name: str = "tickets", **fields: str) -> Response:
        """All of it. Returns what the callback answers."""
        return await browser.get(await self.agree(await self.begin(browser, name, **fields)))

    async def reply(self, workflow: str, who: str) -> Response:
        """What a person gets who calls a workflow."""
        headers = {"authorization": f"Bearer {self.tenant.token(who)}"}
        return await self.console.browser().client.post(f"/triggers/{workflow}", headers=headers)

    async def run(self, workflow: str, who: str) -> str:
        """The path of the page of a run that this person starts."""
        return f"/console/runs/{(await self.reply(workflow, who)).headers['x-run-id']}"

    def grants(self) -> list[Any]:
        """The rows of grants."""
        return self.console.execute("SELECT connection, owner, scopes, reason FROM grants ORDER BY connection, owner")


def onward(answered: Response) -> str:
    """Where a page goes on to."""
    found = _ONWARD.search(answered.text)
    assert found is not None, answered.text
    url = html.unescape(found[1])
    assert html.escape(url, quote=False) in answered.text.replace("&#34;", '"')
    return url


def entry(provider: StrictProvider, **more: Any) -> dict[str, Any]:
    """A connection at the provider."""
    auth = {
        "type": "oauth2",
        "flow": "authorization_code",
        "authorization_url": f"{provider.url}/authorize",
        "token_url": f"{provider.url}/token",
        "client_id": CLIENT_ID,
        "client_secret": {"key_vault": SECRET},
        "scopes": ["read", "write"],
        **more,
    }
    return {"base_url": provider.url, "auth": {key: value for key, value in auth.items() if value is not None}}


@asynccontextmanager
async def installation(
    local: LocalTenant, folder: Path, address: str = AT_LOOPBACK, **settings: Any
) -> AsyncIterator[Installation]:
    """The server and the provider."""
    (folder / "tickets.py").write_text(WORKFLOWS, encoding="utf-8")
    now = int(time.time())
    local.vault.put(KEY, secrets.token_urlsafe(32), now)
    local.vault.put(SECRET, CLIENT_SECRET, now)
    with StrictProvider().serving() as provider:
        revocable = {"revocation_url": f"{provider.url}/revoke"}
        connections = {
            "tickets": entry(provider, per_user=True, **revocable),
            "notes": entry(provider, per_user=True),
            "shared": entry(provider),
            "named": entry(provider, per_user=True, issuer=provider.url, authorization_url=None, token_url=None),
        }
        given: dict[str, Any] = {"connections": connections, "grants_key_name": KEY, **settings}
        async with open_console(local, folder, address, **given) as console:
            yield Installation(console, provider, local)
