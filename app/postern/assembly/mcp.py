"""Workflows as tools for agents, as a part of the server. The SDK is loaded when there is a tool."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.routing import Route

from postern.access import AccessFault, Caller, Guarded, Refused, tenant_users
from postern.api.access import recognise
from postern.api.rejected import Rejections
from postern.assembly.api import ApiPart
from postern.assembly.api_needs import ApiNeeds
from postern.assembly.foundation import Foundation
from postern.assembly.installation import authority, installation_of
from postern.assembly.part import Part
from postern.catalog import Trigger
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.mcp.calls import Calls
from postern.mcp.endpoint import Endpoint, no_one
from postern.mcp.resource import PATH, WELL_KNOWN, Resource
from postern.mcp.step_up import StepUps
from postern.mcp.tools import McpTool, tools_of
from postern.triggers.pipeline import Pipeline
from postern.triggers.read import Receive
from postern.triggers.reply import Answer, Send, json_reply, problem_reply
from postern.triggers.secure_transport import Scope

if TYPE_CHECKING:
    from postern.mcp.handlers import Handlers

LIBRARY = "mcp"
DAY = 86400.0

Triggers = Callable[[], Mapping[str, Trigger]]
Respond = Callable[[Scope, Receive, Send, str], Awaitable[None]]


class Manager(Protocol):
    """What the SDK has for its requests. `run` is entered once."""

    def run(self) -> AbstractAsyncContextManager[None]: ...

    async def handle_request(self, scope: Scope, receive: Receive, send: Send, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPart(Part):
    """`drain` is called when the server begins to stop."""

    drain: Callable[[], object]


def mcp_part(
    base: Foundation, needs: ApiNeeds, api: ApiPart, pipeline: Pipeline, respond: Respond, *, serves: bool = True
) -> McpPart:
    """`/mcp` and its metadata. `respond` responds to requests to triggers under a request id, as `pipeline` does. What
    serves no triggers serves no tools."""
    on, installed = serves and base.settings.mcp, find_spec(LIBRARY) is not None
    tools = CurrentTools(base.catalog.triggers, on=on and installed)
    whose = Whose(base, tools)
    calls = Calls(respond, needs.runs.runner.cancel)
    sdk = Sdk(lambda: _handlers(base, needs, api, pipeline, calls, tools), tools)
    base.catalog.listeners.append(lambda _old, _new: sdk.look())
    endpoint = Endpoint(
        tools=tools,
        resource=whose.resource,
        public_url=base.settings.public_url or "",
        identify=whose.identify,
        still=base.identity.still,
        reject=Rejected(base, Rejections(needs.refusals.take, base.log, authority(base.settings))),
        serve=sdk.serve,
        step_up=StepUps(tools, whose.resource, pipeline.turn_away).answer,
        max_body_bytes=base.settings.max_body_bytes,
        large_bodies=needs.large_bodies,
        throttle=pipeline.throttle,
        log=base.log,
    )
    metadata = Metadata(whose.resource)
    if on:
        _say_what_is_missing(base, installed=installed)
        base.catalog.listeners.append(lambda _old, _new: _say_what_is_missing(base, installed=installed))
    return McpPart(
        routes=(
            Route(PATH, endpoint),
            *(Route(path, metadata, methods=["GET"]) for path in (WELL_KNOWN, WELL_KNOWN + PATH)),
        ),
        tasks=(sdk.run,),
        drain=sdk.drain,
    )


def _say_what_is_missing(base: Foundation, *, installed: bool) -> None:
    """Log what tools need that is not there: nothing else shows it, because clients are told nothing of it."""
    if all(trigger.workflow.tool is None for trigger in base.catalog.triggers().values()):
        return
    if not installed:
        base.log.error("mcp-off", missing="the package mcp", fix="install postern-workflows[mcp]")
    elif base.settings.tenant_id and not base.settings.public_url:
        fix = "set POSTERN_PUBLIC_URL: clients that have no token sign in for <POSTERN_PUBLIC_URL>/mcp"
        base.log.warning("mcp-without-sign-in", missing="POSTERN_PUBLIC_URL", fix=fix)


class CurrentTools:
    """The tools of the served workflows, made once for each snapshot of the catalog. None unless they are `on`."""

    def __init__(self, triggers: Triggers, *, on: bool) -> None:
        self._triggers = triggers
        self._on = on
        self._of: Mapping[str, Trigger] | None = None
        self._tools: Mapping[str, McpTool] = {}

    def __call__(self) -> Mapping[str, McpTool]:
        """By name."""
        triggers = self._triggers()
        if triggers is not self._of:
            self._tools = tools_of(triggers) if self._on else {}
            self._of = triggers
        return self._tools


@dataclass(frozen=True, slots=True)
class Whose:
    """Who may come to `/mcp`, and where a client gets a token."""

    base: Foundation
    tools: Callable[[], Mapping[str, McpTool]]

    async def identify(self, scope: Scope) -> Caller:
        """The caller of a request, whose token is for this server or for a tool. Where no tenant issues tokens, none is
        looked at, and only anonymous tools are there."""
        if not self._tenants():
            return await no_one(scope)
        caller = await self.base.identity.identification.identify(scope)
        recognise(installation_of(self.base.settings), self._policies(), caller)
        return caller

    def resource(self) -> Resource | None:
        """The protected resource; None without a tool, a tenant or POSTERN_PUBLIC_URL."""
        settings, tenants = self.base.settings, self._tenants()
        if not (self.tools() and tenants and settings.public_url):
            return None
        issuers = tuple(f"{authority(settings)}/{each}/v2.0" for each in tenants)
        return Resource(settings.public_url, issuers, settings.mcp_scope)

    def _policies(self) -> list[Guarded]:
        policies = (tool.trigger.policy for tool in self.tools().values())
        return [policy for policy in policies if isinstance(policy, Guarded)]

    def _tenants(self) -> list[str]:
        """That of the settings first, then those of single workflows."""
        own = sorted(installation_of(self.base.settings).tenants)
        others = set[str]().union(*(policy.tenants for policy in self._policies()))
        return [*own, *sorted(others.difference(own))]


class Sdk:
    """Answers messages by the SDK, which is loaded in a thread when there is a tool."""

    def __init__(self, make: "Callable[[], Handlers]", tools: Callable[[], Mapping[str, McpTool]]) -> None:
        self._make = make
        self._tools = tools
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._handlers: Handlers | None = None
        self._manager: Manager | None = None

    def look(self) -> None:
        """The catalog has changed: load the SDK if there is a tool now."""
        if self._tools():
            self._wanted.set()

    def drain(self) -> None:
        """The server begins to stop."""
        if self._handlers is not None:
            self._handlers.drain()

    async def run(self) -> None:
        """Load it and answer until cancelled."""
        self.look()
        await self._wanted.wait()
        manager = await anyio.to_thread.run_sync(self._load, limiter=CapacityLimiter(1))
        try:
            async with manager.run():
                self._manager = manager
                self._ready.set()
                await anyio.sleep_forever()
        finally:
            self._ready.clear()
            self._manager = None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one message (ASGI)."""
        self._wanted.set()
        await self._ready.wait()
        if self._manager is None:
            raise RuntimeError("the SDK is ready and not there")
        await self._manager.handle_request(scope, receive, send)

    def _load(self) -> Manager:
        from postern.mcp.protocol import manager_of  # 0.9 s of a processor

        self._handlers = self._make()
        return manager_of(self._handlers)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Records and answers requests to `/mcp` that are rejected before a tool is known."""

    base: Foundation
    rejections: Rejections

    def __call__(self, error: Refused | Problem, scope: Scope, request_id: str) -> Answer:
        """The token of a request that was refused is examined for the record, as for any user of the tenant."""
        examined: Guarded | None = None
        if isinstance(error, Refused):
            with suppress(AccessFault):
                policy = self.base.catalog.bind(tenant_users())
                examined = policy if isinstance(policy, Guarded) else None
        return self.rejections.answer(error, Request(scope), PATH, request_id, examined)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of the resource, as an ASGI application."""

    resource: Callable[[], Resource | None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        del receive
        found = self.resource()
        answer = (
            problem_reply(problem("not-found"), new_id())
            if found is None
            else json_reply(200, to_json(found.metadata()))
        )
        await answer.send(send, head=scope["method"] == "HEAD")


def _handlers(
    base: Foundation, needs: ApiNeeds, api: ApiPart, pipeline: Pipeline, calls: Calls, tools: CurrentTools
) -> "Handlers":
    from postern.assembly.mcp_runs import AgentsRuns  # what the run API loads, and the SDK
    from postern.mcp.handlers import Handlers

    public_url = base.settings.public_url or ""
    return Handlers(
        tools=tools,
        calls=calls,
        runs=AgentsRuns(base, needs, api.actions),
        turn_away=pipeline.turn_away,
        reach=pipeline.gate.reach,
        result_url=lambda run_id: f"{public_url}/runs/{run_id}/result",
        ttl=base.settings.retention_days * DAY,
    )
