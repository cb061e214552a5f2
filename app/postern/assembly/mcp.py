"""Workflows as tools for agents, as a part of the server. What serves them, and the SDK, is loaded when there is a
tool."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from starlette.routing import Route

from postern import collector
from postern.assembly.api import ApiPart
from postern.assembly.api_needs import ApiNeeds
from postern.assembly.foundation import Foundation
from postern.assembly.mcp_served import App, Respond, Served
from postern.assembly.part import Part
from postern.catalog import Snapshot
from postern.errors import problem
from postern.ids import new_id
from postern.mcp.resource import PATH, WELL_KNOWN
from postern.triggers.pipeline import Pipeline
from postern.triggers.read import Receive
from postern.triggers.reply import Send, problem_reply
from postern.triggers.secure_transport import Scope

LIBRARY = "mcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPart(Part):
    """`drain` is called when the server begins to stop."""

    drain: Callable[[], object]


def mcp_part(
    base: Foundation, needs: ApiNeeds, api: ApiPart, pipeline: Pipeline, respond: Respond, *, serves: bool = True
) -> McpPart:
    """`/mcp` and its metadata. `respond` responds to requests to triggers under a request id, as `pipeline` does. What
    serves no triggers serves no tools."""

    def made() -> Served:
        from postern.assembly.mcp_endpoint import served  # 0.9 s of a processor and 22 MiB

        return served(base, needs, api, pipeline, respond)

    if not (serves and base.settings.mcp and base.outside.agents):
        return McpPart(drain=lambda: None)
    installed = find_spec(LIBRARY) is not None

    def has_tools() -> bool:
        return installed and any(trigger.workflow.tool is not None for trigger in base.catalog.triggers().values())

    agents = Agents(has_tools, made)
    base.catalog.listeners.append(lambda _old, _new: agents.look())
    base.catalog.listeners.append(lambda _old, new: _say_what_is_missing(base, new, installed=installed))
    _say_what_is_missing(base, base.catalog.snapshot(), installed=installed)
    return McpPart(
        routes=(
            Route(PATH, Page(agents, lambda served: served.endpoint)),
            *(
                Route(path, Page(agents, lambda served: served.metadata), methods=["GET"])
                for path in (WELL_KNOWN, WELL_KNOWN + PATH)
            ),
        ),
        tasks=(agents.run,),
        drain=agents.drain,
    )


class Agents:
    """Serves tools once there is one. `make` makes what serves them, in a thread."""

    def __init__(self, has_tools: Callable[[], bool], make: Callable[[], Served]) -> None:
        self.has_tools = has_tools
        self._make = make
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._failed = False
        self.loaded: Served | None = None

    def look(self) -> None:
        """The catalog has changed."""
        if self.has_tools():
            self._wanted.set()

    def drain(self) -> None:
        """The server begins to stop."""
        if self.loaded is not None:
            self.loaded.drain()

    async def run(self) -> None:
        """Load what serves tools as soon as there is one, and serve them until cancelled."""
        self.look()
        await self._wanted.wait()
        try:
            made = await anyio.to_thread.run_sync(self._make, limiter=CapacityLimiter(1))
        except Exception:
            self._failed, waiting = True, self._ready
            self._ready = asyncio.Event()
            waiting.set()
            raise
        self._failed = False
        collector.loaded()
        try:
            async with made.run():
                self.loaded = made
                self._ready.set()
                await anyio.sleep_forever()
        finally:
            self._ready.clear()
            self.loaded = None

    async def load(self) -> Served | None:
        """What serves tools, as soon as it is loaded. None while it cannot be: the log says why, and it is tried
        again."""
        if self.loaded is None and not self._failed:
            await self._ready.wait()
        return self.loaded


@dataclass(frozen=True, slots=True)
class Page:
    """One of the URLs, as an ASGI application. Nothing is there before there is a tool; what serves tools looks itself
    whether there still is one."""

    agents: Agents
    of: Callable[[Served], App]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        served, code = self.agents.loaded, "not-found"
        if served is None and self.agents.has_tools():
            served, code = await self.agents.load(), "internal-error"
        if served is not None:
            await self.of(served)(scope, receive, send)
            return
        await problem_reply(problem(code), new_id()).send(send, head=scope["method"] == "HEAD")


def _say_what_is_missing(base: Foundation, snapshot: Snapshot, *, installed: bool) -> None:
    """Log what tools need that is not there. Nothing else shows it, because clients are told nothing of it."""
    if all(trigger.workflow.tool is None for trigger in snapshot.triggers.values()):
        return
    if not installed:
        base.log.error("mcp-off", missing="the package mcp", fix="install postern-workflows[mcp]")
    elif base.settings.tenant_id and not base.settings.public_url:
        fix = "set POSTERN_PUBLIC_URL: clients without a token learn from it where to sign in"
        base.log.warning("mcp-without-sign-in", missing="POSTERN_PUBLIC_URL", fix=fix)
