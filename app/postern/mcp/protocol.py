"""The Model Context Protocol as the SDK speaks it, in both eras: revision 2026-07-28, and those that begin with
`initialize`. It imports the SDK, which takes 0.9 s of a processor and 22 MiB: see `assembly/mcp.py`.

There are no sessions, so each server process answers each request.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import structlog
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolRequestParams
from sse_starlette.sse import AppStatus

from postern.mcp.handlers import Context, Handlers
from postern.mcp.task_methods import TaskMethods
from postern.version import own_version

INSTRUCTIONS = "Each tool runs a workflow of this server, with the access of its caller, and every call is recorded."

NO_LIMIT = 2**62
"""For the SDK: the endpoint has limited the body before."""

Given = TypeVar("Given")
Made = TypeVar("Made")

log = structlog.get_logger("postern.mcp")


class SdkLog(logging.Handler):
    """Writes a line for an error of the SDK: where it was said and the type of the error. Its texts may repeat what was
    sent or returned, so no line has them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        cause = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        log.error("mcp-sdk-reported", place=f"{record.module}:{record.lineno}", **({"cause": cause} if cause else {}))


def manager_of(handlers: Handlers) -> StreamableHTTPSessionManager:
    """What responds to requests to `/mcp` that passed the endpoint. Its `run` is entered once."""
    _route_log()
    AppStatus.enable_automatic_graceful_drain = False  # streams end as all requests do: see server/process.py
    return StreamableHTTPSessionManager(
        _server(handlers), json_response=False, stateless=True, max_request_body_size=NO_LIMIT
    )


def guarded(answer: Callable[[Context, Given], Awaitable[Made]]) -> Callable[[Context, Given], Awaitable[Made]]:
    """The handler, whose own errors say nothing to its client: before revision 2026-07-28 the SDK sends the text of an
    exception, which may have what a workflow keeps secret. The log has its type and place."""

    @wraps(answer)
    async def method(ctx: Context, params: Given) -> Made:
        try:
            return await answer(ctx, params)
        except MCPError:
            raise
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            log.error("mcp-request-failed", place=f"{at.name}:{at.lineno}", cause=type(error).__name__)  # noqa: TRY400
        raise MCPError(INTERNAL_ERROR, "Internal server error")

    return method


def _server(handlers: Handlers) -> Server[Any]:
    def schema_of(name: str) -> Mapping[str, Any] | None:
        tool = handlers.tools().get(name)
        return tool.input_schema if tool is not None else None

    server: Server[Any] = Server(
        "postern",
        title="Postern workflows",
        version=own_version(),
        instructions=INSTRUCTIONS,
        get_tool_input_schema=schema_of,
        on_list_tools=guarded(handlers.list_tools),
    )
    server.add_request_handler("tools/call", CallToolRequestParams, guarded(handlers.call_tool))
    server.middleware.clear()  # spans of the SDK: the request and its run have ours
    TaskMethods(handlers).add_to(server, guarded)
    return server


def _route_log() -> None:
    for name in ("mcp", "sse_starlette"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.ERROR)
        if not any(isinstance(each, SdkLog) for each in logger.handlers):
            logger.handlers[:] = [SdkLog()]
