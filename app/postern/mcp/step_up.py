"""The answer to a call whose token lacks a scope: its client may ask for more (RFC 6750, section 3.1, and the
authorization page of the Model Context Protocol, "Step-up").

It is given only where POSTERN_MCP_SCOPE is the name of a scope. A client joins the scopes that it has with those of the
challenge, and Entra takes no name beside `.default`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postern.access import Caller, Refused, admit
from postern.catalog import Trigger
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.json_parser import parse
from postern.mcp.calls import Call, TurnAway
from postern.mcp.requests import trigger_scope
from postern.mcp.resource import Resource
from postern.mcp.session import via_of
from postern.mcp.tools import McpTool, ToolRequest
from postern.triggers.reply import Answer, problem_reply
from postern.triggers.secure_transport import Scope

SCOPE = "scope"
"""The check that a step-up can pass (see access/policy.py)."""


@dataclass(frozen=True, slots=True)
class StepUps:
    """For `tools` and `resource` see `endpoint.Endpoint`, for `reach` and `turn_away` see `handlers.Handlers`."""

    tools: Callable[[], Mapping[str, McpTool]]
    resource: Callable[[], Resource | None]
    turn_away: TurnAway
    reach: Callable[[Trigger, Scope], None] | None

    async def answer(self, body: bytes, caller: Caller, scope: Scope) -> Answer | None:
        """403 `insufficient_scope` for a call of this body, on record as a rejection of the tool's trigger. None for
        all else."""
        resource = self.resource()
        if resource is None or not resource.names_scope:
            return None
        found = self._called(body)
        if found is None:
            return None
        tool, request = found
        try:
            if self.reach is not None:
                self.reach(tool.trigger, {**scope})  # it may add header fields for a reply
            admit(tool.trigger.policy, caller)
        except Refused as refused:
            if refused.failed.name != SCOPE:
                return None
            lacking = refused
        else:
            return None
        call = Call(new_id(), b"")
        await self.turn_away(lacking, trigger_scope(scope, tool, request, {}, via_of(None)), call.send)
        answered = await call.answered
        scopes = sorted(lacking.failed.expected)
        request_id = parse(answered.content)["request_id"]
        answer = problem_reply(problem("forbidden", detail=lacking.failed.advice), request_id)
        challenge = [(b"www-authenticate", b'Bearer error="insufficient_scope"')]
        answer.headers += resource.challenged(challenge, scopes)
        return answer

    def _called(self, body: bytes) -> tuple[McpTool, ToolRequest] | None:
        """The tool that the message calls, with the request to its trigger; None if it calls none."""
        try:
            message = parse(body)
            if message["method"] != "tools/call":
                return None
            params = message["params"]
            tool = self.tools()[params["name"]]
            return tool, tool.request(params.get("arguments") or {})
        except (ValueError, TypeError, KeyError, AttributeError, Problem):
            return None  # what is wrong with it is said where it is read
