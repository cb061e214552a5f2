"""A server with tools over a real socket, and agents that call them with the SDK's client, in both eras."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from postern.assembly import create_app
from postern.assembly.asgi import Application
from postern.journal.revocations import Rule
from postern.local_tenant import LocalTenant
from postern.server.process import Server, bind, server_config
from tests.pipeline.pipelines import revoke, settings_for

MODERN, LEGACY = "2026-07-28", "2025-11-25"
ERAS = (MODERN, LEGACY)
PUBLIC_URL = "https://postern.test"

HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": MODERN,
}


@dataclass
class Gate:
    """What a workflow of a test waits for, and what it saw."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """As at first. An event belongs to the loop that waited for it first, and each module has its own."""
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.seen.clear()


GATE = Gate()


@dataclass
class Installation:
    """A server that runs."""

    app: Application
    local: LocalTenant
    port: int
    server: Server
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def http(self, who: str | None = None, **headers: str) -> httpx2.AsyncClient:
        """A plain client with a token of this person or application."""
        sent = headers | ({"Authorization": f"Bearer {self.local.token(who)}"} if who else {})
        return httpx2.AsyncClient(base_url=self.url, headers=sent, trust_env=False, timeout=20)

    @asynccontextmanager
    async def agent(self, who: str | None = "lisa", era: str = MODERN, **headers: str) -> AsyncIterator[Any]:
        """An agent with a token of this person or application, which speaks this revision."""
        async with self.http(who, **headers) as http:
            mode: Any = "legacy" if era == LEGACY else era
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client

    async def run_of(self, who: str, run_id: str) -> dict[str, Any]:
        """The record of a run, as this caller sees it."""
        async with self.http(who) as http:
            answer = await http.get(f"/runs/{run_id}")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

    async def runs(self, who: str, **filters: str) -> list[dict[str, Any]]:
        """The runs that this caller sees, the newest first."""
        async with self.http(who) as http:
            answer = await http.get("/runs", params=filters)
            assert answer.status_code == 200, answer.text
            found: list[dict[str, Any]] = answer.json()["runs"]
            return found

    async def refusals(self) -> list[dict[str, Any]]:
        """The records of rejected requests that there are now. Ada is an operator."""
        async with self.http("ada") as http:
            found: list[dict[str, Any]] = (await http.get("/refusals")).json()["refusals"]
            return found

    async def refused(self, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The records of rejected requests that fit, once there is one. Those of earlier tests may come late."""
        with anyio.fail_after(20):
            while not (found := [each for each in await self.refusals() if fits(each)]):
                await anyio.sleep(0.05)
        return found


def message(method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """A request of revision 2026-07-28, as JSON."""
    own = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": meta.pop("capabilities", {}),
        "io.modelcontextprotocol/clientInfo": {"name": "test agent", "version": "1.2"},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": own | meta}}


def headed(method: str, name: str = "") -> dict[str, str]:
    """The header fields of such a request."""
    return HEADERS | {"Mcp-Method": method} | ({"Mcp-Name": name} if name else {})


async def eventually(condition: Callable[[], object]) -> None:
    """Waits for what another task does."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)


@asynccontextmanager
async def installation(
    local: LocalTenant, folder: Path, workflows: str, revoked: Iterable[Rule] = (), **more: Any
) -> AsyncIterator[Installation]:
    """A server with these workflows and revocations, whose operator is Ada."""
    place = folder / "workflows"
    place.mkdir()
    (place / "module.py").write_text(workflows, encoding="utf-8")
    values = {"public_url": PUBLIC_URL, "operators": [local.people["ada"]], "console": "off"} | more
    settings = settings_for(local, place, **values)
    revoke(settings.database_url, revoked)
    app = create_app(settings)
    assert not app.catalog.snapshot.faults, app.catalog.snapshot.faults
    config = server_config(app, port=0)
    server = Server(config, grace=5.0, idle=0.05)
    listener = bind(config)
    config.load()
    serving = asyncio.create_task(server._serve([listener]))
    await eventually(lambda: server.started)
    GATE.close()
    try:
        yield Installation(app, local, listener.getsockname()[1], server, place)
    finally:
        if not server.stop_signal:
            server.handle_exit(2, None)
        await serving
