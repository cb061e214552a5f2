"""`GET /gateways` and `POST /connections/{name}/test`, for operators: gateways with their agents as this server process
sees them, and the test of an entry in the process to which the agents are connected."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from structlog.typing import FilteringBoundLogger

from postern.api.departure import Page
from postern.api.list_query import no_parameters
from postern.api.operators import Operators
from postern.api.representation import when
from postern.connections.stage import Stage
from postern.errors import problem
from postern.gateway.state import AgentState, GatewayState, GatewayStates
from postern.triggers.reply import Answer, json_reply

SECONDS = 60.0
"""How long a test may take."""
AT_ONCE = 4
"""Tests that run at the same time."""


@dataclass(frozen=True, slots=True)
class GatewayHandlers:
    """`operators` returns the operator who sends a request. `states` are the gateways, and `node` is this server
    process. `known` says whether there is such an entry, and `stages` tests it. The log says who tested
    what."""

    operators: Operators
    states: GatewayStates
    node: str
    known: Callable[[str], bool]
    stages: Callable[[str], AsyncIterator[Stage]]
    log: FilteringBoundLogger
    _testing: set[str] = field(default_factory=set)

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """By method and path."""
        return (("GET", "/gateways", self.index), ("POST", "/connections/{name}/test", self.test))

    async def index(self, request: Request) -> Answer:
        """All gateways of the settings."""
        await self.operators(request)
        no_parameters(request.scope["query_string"])
        return json_reply(200, to_json({"gateways": list(map(gateway_json, self.states())), "node": self.node}))

    async def test(self, request: Request) -> Answer:
        """Every stage of the test of one entry, such as `connections.erp`, up to the first that fails."""
        operator = await self.operators(request)
        no_parameters(request.scope["query_string"])
        entry = request.path_params["name"]
        if not self.known(entry):
            raise problem("not-found", detail="postern.toml has no such entry.")
        if entry in self._testing or len(self._testing) >= AT_ONCE:
            raise problem("too-many-runs", detail="Such a test is running already: wait until it has ended.")
        self._testing.add(entry)
        try:
            found = await self._stages(entry)
        finally:
            self._testing.discard(entry)
        passed = all(stage.passed for stage in found)
        self.log.info("connection-tested", entry=entry, passed=passed, object_id=operator.object_id)
        return json_reply(200, to_json({"entry": entry, "stages": [stage_json(stage) for stage in found]}))

    async def _stages(self, entry: str) -> list[Stage]:
        found: list[Stage] = []
        try:
            async with asyncio.timeout(SECONDS):
                async for stage in self.stages(entry):
                    found += [stage]
        except TimeoutError:
            found.append(Stage("time", False, f"nothing came within {SECONDS:g} s", "Look whether its host is slow"))
        return found


def gateway_json(state: GatewayState) -> dict[str, Any]:
    """A gateway as the API shows it."""
    agents = [_agent_json(agent) for agent in state.agents]
    return {"name": state.name, "agents": agents, "last": state.last or None, "error": state.error or None}


def _agent_json(agent: AgentState) -> dict[str, Any]:
    return {
        "name": agent.name,
        "object_id": agent.object_id,
        "version": agent.version,
        "since": when(agent.since),
        "nodes": list(agent.nodes),
        "all_nodes": list(agent.all_nodes),
        "tunnels": agent.tunnels,
        "draining": agent.draining,
        "error": agent.error or None,
    }


def stage_json(stage: Stage) -> dict[str, Any]:
    """One stage of a test as the API shows it."""
    return {"name": stage.name, "passed": stage.passed, "detail": stage.detail, "fix": stage.fix}
