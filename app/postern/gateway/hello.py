"""What the two ends of a link say of themselves: lines of JSON on stream 1, a new one after each change."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream

from postern.gateway.frames import ControlRate, FrameLimit
from postern.gateway.link import LinkError
from postern.plain_text import plain

HELLO = ((":method", "POST"), (":scheme", "https"), (":authority", "postern"), (":path", "/hello"))
"""The head of stream 1, which the server opens."""

LINE_BYTES = 64 * 1024
"""Names of some thousand server processes."""

NAME_CHARACTERS = 200
ERROR_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ServerState:
    """`nodes`: ids of the live server processes, this one included. A draining one takes no new links."""

    node: str
    nodes: tuple[str, ...]
    version: str
    draining: bool = False


@dataclass(frozen=True, slots=True)
class AgentState:
    """`agent`: the name of the machine or process, for people. A draining one takes no new tunnels. `nodes`: the server
    processes that it reaches. `error`: its last failure, "" for none."""

    agent: str
    version: str
    draining: bool = False
    nodes: tuple[str, ...] = ()
    error: str = ""


def line(state: ServerState | AgentState) -> bytes:
    """One line, with its end."""
    return json.dumps(asdict(state)).encode() + b"\n"


def server_state(fields: Mapping[str, Any]) -> ServerState:
    """Unknown fields are those of later versions. Raises LinkError."""
    return ServerState(_text(fields, "node"), _nodes(fields), _text(fields, "version"), _draining(fields))


def agent_state(fields: Mapping[str, Any]) -> AgentState:
    """Unknown fields are those of later versions. Raises LinkError."""
    error = fields.get("error", "")
    return AgentState(
        _text(fields, "agent"),
        _text(fields, "version"),
        _draining(fields),
        _nodes(fields),
        plain(error[:ERROR_CHARACTERS]) if isinstance(error, str) else "",
    )


async def objects(
    stream: ByteReceiveStream, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[dict[str, Any]]:
    """The objects of the peer's lines, to the stream's end, as many as a peer may send control frames. Raises
    LinkError, BrokenResourceError."""
    buffer, rate = bytearray(), ControlRate(clock, "lines of its hello")
    while True:
        while (end := buffer.find(b"\n")) >= 0:
            _count(rate)
            yield _object(bytes(buffer[:end]))
            del buffer[: end + 1]
        if len(buffer) > LINE_BYTES:
            raise LinkError("the peer's hello is too long")
        try:
            buffer += await stream.receive()
        except anyio.EndOfStream:
            return


def _count(rate: ControlRate) -> None:
    try:
        rate.received()
    except FrameLimit as limit:
        raise LinkError(f"the peer sent {limit}") from None


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise LinkError("the peer's hello is no JSON object")
    return found


def _text(fields: Mapping[str, Any], name: str) -> str:
    return _name(fields.get(name))


def _nodes(fields: Mapping[str, Any]) -> tuple[str, ...]:
    nodes = fields.get("nodes", [])
    if not isinstance(nodes, list):
        raise LinkError("the peer's hello has no list of nodes")
    return tuple(_name(node) for node in nodes)


def _name(value: object) -> str:
    """Names of peers are shown in logs and tables: no control characters."""
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARACTERS or not value.isprintable():
        raise LinkError("the peer's hello has a name that is missing, too long or not printable")
    return value


def _draining(fields: Mapping[str, Any]) -> bool:
    return fields.get("draining") is True
