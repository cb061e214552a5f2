"""The methods of the extension for tasks: `tasks/get`, `tasks/cancel` and `tasks/update`. It imports the SDK."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mcp.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from postern.errors import Problem
from postern.mcp.handlers import Context, Handlers, knows_tasks, session_of
from postern.mcp.later import EXTENSION, task_of
from postern.mcp.session import Session

Answers = Callable[[Session, str], Awaitable[dict[str, Any]]]


class TaskParams(RequestParams):
    """The parameters of each method. What a client sends besides is ignored."""

    task_id: str = Field(alias="taskId")


Method = Callable[[Context, TaskParams], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class TaskMethods:
    """Tasks are durable runs, so each method is one of the run API, with its access."""

    handlers: Handlers

    def add_to(self, server: Server[Any], guarded: Callable[[Method], Method]) -> None:
        """Serve the methods, each guarded against its own errors."""
        server.extensions[EXTENSION] = {}
        for method, answer in (("get", self.get), ("cancel", self.cancel), ("update", self.update)):
            server.add_request_handler(f"tasks/{method}", TaskParams, guarded(_checked(answer)))

    async def get(self, session: Session, task_id: str) -> dict[str, Any]:
        """The task, with its result if it has ended."""
        view = await self.handlers.runs.view(task_id, session.scope, session.caller)
        found = task_of(view, self.handlers.ttl)
        if found["status"] == "completed":
            found["result"] = {"resultType": "complete"} | await self.handlers.ended(session, view)
        return found

    async def cancel(self, session: Session, task_id: str) -> dict[str, Any]:
        """Ask for the end of the run. One that has ended stays as it is."""
        runs = self.handlers.runs
        await runs.view(task_id, session.scope, session.caller)
        with suppress(Problem):
            await runs.cancel(task_id, session.scope, session.caller)
        return {}

    async def update(self, session: Session, task_id: str) -> dict[str, Any]:
        """Nothing: no task asks for input, and answers to what was not asked are ignored."""
        await self.handlers.runs.view(task_id, session.scope, session.caller)
        return {}


def _checked(answer: Answers) -> Method:
    """The method after what all of them check. Raises MCPError."""

    async def method(ctx: Context, params: TaskParams) -> dict[str, Any]:
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(METHOD_NOT_FOUND, "Method not found")
        if not knows_tasks(ctx):
            needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "Missing required client capability", needed)
        session = session_of(ctx)
        named = ctx.request.headers.get(MCP_NAME_HEADER) if ctx.request is not None else None
        if decode_header_value(named) != params.task_id:
            raise MCPError(HEADER_MISMATCH, "The header Mcp-Name is not the task's id.")
        try:
            return await answer(session, params.task_id)
        except Problem as shown:
            raise MCPError(INVALID_PARAMS, f"{shown.title}: {shown.detail}") from None

    return method
