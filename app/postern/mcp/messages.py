"""The one message that the commands send to `/mcp`, and how its reply is read. The SDK is not needed for it. Pure.

Source: Model Context Protocol, revision 2026-07-28, "Streamable HTTP" and "Tools".
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from postern.json_parser import parse
from postern.version import own_version

Json = dict[str, Any]

REVISION = "2026-07-28"
METHOD = "tools/list"
HEADERS: Mapping[str, str] = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": REVISION,
    "Mcp-Method": METHOD,
}
_META = "io.modelcontextprotocol/"
_EVENTS = "text/event-stream"


class NoList(Exception):
    """A reply that has no list of tools. The message says what it has."""


def request_for_tools(cursor: str | None = None) -> bytes:
    """The body of a request for the tools, from the place on where a list ended."""
    meta = {
        f"{_META}protocolVersion": REVISION,
        f"{_META}clientInfo": {"name": "postern", "version": own_version()},
        f"{_META}clientCapabilities": {},
    }
    parameters: Json = {"_meta": meta} | ({"cursor": cursor} if cursor is not None else {})
    return to_json({"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": parameters})


def tools_in(content_type: str, content: bytes) -> tuple[list[Json], str | None]:
    """The tools in a reply, and the cursor of the rest, None if there is none. Raises NoList."""
    found = _message(content_type, content)
    if isinstance(error := found.get("error"), dict):
        raise NoList(f"the server says {error.get('message') or error.get('code')}")
    result = found.get("result")
    tools = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools):
        raise NoList("the reply has no list of tools")
    cursor = result.get("nextCursor")
    return tools, cursor if isinstance(cursor, str) else None


def challenge_of(value: str) -> dict[str, str]:
    """The parameters of a Bearer challenge (RFC 6750, section 3), {} if it is none."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "bearer":
        return {}
    found = {}
    for part in rest.split('",'):
        name, equals, text = part.partition("=")
        if equals:
            found[name.strip(" ,")] = text.strip('"')
    return found


def document_in(content: bytes) -> Json:
    """A JSON object; {} for anything else."""
    try:
        found = parse(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(content_type: str, content: bytes) -> Json:
    """The response in a reply: JSON, or the last event of a stream that is one."""
    if not content_type.startswith(_EVENTS):
        return document_in(content)
    events = [
        b"".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        for event in content.replace(b"\r\n", b"\n").split(b"\n\n")
    ]
    return next((found for event in reversed(events) if "id" in (found := document_in(event))), {})
