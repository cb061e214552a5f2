"""The request to a trigger that a call of a tool becomes: its ASGI scope. Pure.

It is a request of the same client over the same connection, so the address, the scheme and the token are those of the
request to `/mcp`. Header fields that describe the message itself are replaced, and the rest is passed on. An anonymous
workflow sees all fields that a client sends it. The token is for `/mcp`, which requires one, so it does not get it.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from postern.access import OPEN
from postern.mcp.tools import McpTool, ToolRequest
from postern.runs.idempotency import HEADER as IDEMPOTENCY_KEY
from postern.triggers.exchange import EXCHANGE
from postern.triggers.find import PREFIX
from postern.triggers.gate import ADDED
from postern.triggers.secure_transport import Scope
from postern.triggers.via import VIA, Via

KEY_MEMBER = "postern/idempotency-key"
"""The member of `_meta` in place of the header Idempotency-Key, for clients that set no header for one call."""

_OF_THE_MESSAGE = frozenset(
    {
        *(b"accept", b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"content-type"),
        *(b"cookie", b"expect", b"last-event-id", b"origin", b"prefer", b"te", b"trailer", b"transfer-encoding"),
        *(b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"),
        b"upgrade",
    }
)
"""Fields of the request to `/mcp` that say nothing of the call. Origin was looked at there. A cookie is of the console
alone, and Prefer, ranges and conditions would change the reply that a tool is promised."""
_OF_MCP = b"mcp-"
_TOKEN = frozenset({b"authorization"})
_LONGEST = 8192
"""Characters of a value of `_meta` that a header may have."""
_TRACE = ("traceparent", "tracestate")


def trigger_scope(scope: Scope, tool: McpTool, request: ToolRequest, meta: Mapping[str, Any], via: Via) -> Scope:
    """The scope of the request to the trigger, for a call in a request of this scope. `meta` is the `_meta` of the
    call: it may have an idempotency key, and the trace (revision 2026-07-28) where no header has one. A request
    that the arguments do not make has the path of the trigger: it is for a record only."""
    raw_path, _, query = (request.path or PREFIX + tool.trigger.workflow.name.encode()).partition(b"?")
    made = {name: value for name, value in scope.items() if name not in (EXCHANGE, ADDED, "path_params", "endpoint")}
    return made | {
        "method": request.method,
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": _fields(scope, request.body, meta, _TOKEN if tool.trigger.policy is OPEN else frozenset()),
        VIA: via,
    }


def _fields(
    scope: Scope, body: bytes, meta: Mapping[str, Any], withheld: frozenset[bytes]
) -> list[tuple[bytes, bytes]]:
    fields = [
        (name, value)
        for name, value in scope["headers"]
        if name not in _OF_THE_MESSAGE and name not in withheld and not name.startswith(_OF_MCP)
    ]
    if body:
        fields += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if KEY_MEMBER in meta:
        fields.append((IDEMPOTENCY_KEY, _as_field(meta[KEY_MEMBER])))
    if not any(name == b"traceparent" for name, _ in fields):
        fields += [(name.encode(), _as_field(meta[name])) for name in _TRACE if name in meta]
    return fields


def _as_field(value: object) -> bytes:
    """The value as a header has it. What no header can have becomes empty, which no rule of triggers accepts."""
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isascii() or not value.isprintable():
        return b""
    return value.encode("ascii")
