"""`/mcp` and its metadata, with the SDK behind it. Loaded when there is a tool: see `mcp.py`."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import AccessFault, Caller, Guarded, Refused, tenant_users
from postern.api.access import recognise
from postern.api.rejected import Rejections
from postern.assembly.api import ApiPart
from postern.assembly.api_needs import ApiNeeds
from postern.assembly.foundation import Foundation
from postern.assembly.installation import authority, installation_of
from postern.assembly.mcp_runs import AgentsRuns
from postern.assembly.mcp_served import Respond, Served
from postern.catalog import Trigger
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.mcp.calls import Calls
from postern.mcp.endpoint import Endpoint, no_one
from postern.mcp.handlers import Handlers
from postern.mcp.protocol import manager_of
from postern.mcp.resource import PATH, Resource
from postern.mcp.step_up import StepUps
from postern.mcp.tools import McpTool, tools_of
from postern.triggers.pipeline import Pipeline
from postern.triggers.read import Receive
from postern.triggers.reply import Answer, Send, json_reply, problem_reply
from postern.triggers.secure_transport import Scope

DAY = 86400.0


def served(base: Foundation, needs: ApiNeeds, api: ApiPart, pipeline: Pipeline, respond: Respond) -> Served:
    """What serves the tools. `respond` responds to requests to triggers under a request id, as `pipeline` does."""
    settings = base.settings
    tools = CurrentTools(base.catalog.triggers)
    whose = Whose(base, tools)
    public_url = settings.public_url or ""
    handlers = Handlers(
        tools=tools,
        calls=Calls(respond, needs.runs.runner.cancel),
        runs=AgentsRuns(base, needs, api.actions),
        turn_away=pipeline.turn_away,
        reach=pipeline.gate.reach,
        passes=pipeline.gate.passes,
        result_url=lambda run_id: f"{public_url}/runs/{run_id}/result",
        ttl=settings.retention_days * DAY,
    )
    manager = manager_of(handlers)
    endpoint = Endpoint(
        tools=tools,
        resource=whose.resource,
        public_url=public_url,
        identify=whose.identify,
        still=base.identity.still,
        reject=Rejected(base, Rejections(needs.refusals.take, base.log, authority(settings))),
        serve=manager.handle_request,
        step_up=StepUps(tools, whose.resource, pipeline.turn_away, pipeline.gate.reach).answer,
        max_body_bytes=settings.max_body_bytes,
        large_bodies=needs.large_bodies,
        throttle=pipeline.throttle,
        log=base.log,
    )
    return Served(endpoint, Metadata(whose.resource), manager.run, handlers.drain)


class CurrentTools:
    """The tools of the served workflows, made once for each snapshot of the catalog."""

    def __init__(self, triggers: Callable[[], Mapping[str, Trigger]]) -> None:
        self._triggers = triggers
        self._of: Mapping[str, Trigger] | None = None
        self._tools: Mapping[str, McpTool] = {}

    def __call__(self) -> Mapping[str, McpTool]:
        """By name."""
        triggers = self._triggers()
        if triggers is not self._of:
            self._tools = tools_of(triggers)
            self._of = triggers
        return self._tools


class Whose:
    """Who may come to `/mcp`, and where a client gets a token. What follows from the tools is found once for them."""

    def __init__(self, base: Foundation, tools: Callable[[], Mapping[str, McpTool]]) -> None:
        self._base = base
        self._tools = tools
        self._installation = installation_of(base.settings)
        self._of: Mapping[str, McpTool] | None = None
        self._policies: list[Guarded] = []
        self._tenants: list[str] = []

    async def identify(self, scope: Scope) -> Caller:
        """The caller of a request, whose token is for this server or for a tool. Where no tenant issues tokens, none is
        looked at, and only anonymous tools are there."""
        self._look()
        if not self._tenants:
            return await no_one(scope)
        caller = await self._base.identity.identification.identify(scope)
        recognise(self._installation, self._policies, caller)
        return caller

    def resource(self) -> Resource | None:
        """The protected resource; None without a tool, a tenant or POSTERN_PUBLIC_URL."""
        self._look()
        settings = self._base.settings
        if not (self._of and self._tenants and settings.public_url):
            return None
        issuers = tuple(f"{authority(settings)}/{each}/v2.0" for each in self._tenants)
        return Resource(settings.public_url, issuers, settings.mcp_scope)

    def _look(self) -> None:
        """Whose tokens the tools of now accept: of the tenant of the settings first, then of those of single tools."""
        tools = self._tools()
        if tools is self._of:
            return
        policies = (tool.trigger.policy for tool in tools.values())
        self._policies = [policy for policy in policies if isinstance(policy, Guarded)]
        own = sorted(self._installation.tenants)
        others = set[str]().union(*(policy.tenants for policy in self._policies))
        self._tenants = [*own, *sorted(others.difference(own))]
        self._of = tools


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
