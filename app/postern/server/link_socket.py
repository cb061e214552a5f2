"""A WebSocket that asks to become a link, in the scope of its request."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

LINK = "postern.link"
"""Its name in the scope. Only a request for a link has one."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RESPONSE = "websocket."
"""What the ASGI extension "websocket.http.response" puts before the names of the messages of a response."""

CLOSE_SECONDS = 1.0
"""How long a peer that does not read can delay the end of its link."""

NORMAL = 1000
"""RFC 6455, section 7.4.1."""


class LinkSocket:
    """Binary messages, once it is accepted. Its errors are those of anyio, or OSError."""

    def __init__(self, receive: Receive, send: Send, subprotocols: tuple[str, ...]) -> None:
        self.subprotocols = subprotocols
        self._receive = receive
        self._send = send

    async def respond(self, message: Message) -> None:
        """Send a message of an HTTP response, which rejects the upgrade."""
        await self._send({**message, "type": RESPONSE + message["type"]})

    async def accept(self, subprotocol: str) -> None:
        """Upgrade the connection. Raises BrokenResourceError if the client has gone."""
        if (await self._receive())["type"] != "websocket.connect":
            raise anyio.BrokenResourceError
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    async def send(self, message: bytes) -> None:
        """Waits while too much is unsent."""
        await self._send({"type": "websocket.send", "bytes": message})

    async def receive(self) -> bytes:
        """One message. Raises EndOfStream after the last one, BrokenResourceError for one of text."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise anyio.EndOfStream
        data = message.get("bytes")
        if not isinstance(data, bytes):
            raise anyio.BrokenResourceError
        return data

    async def close(self, reason: str, code: int = NORMAL) -> None:
        """End the connection. A peer that reads nothing does not see why. `reason` is cut to 100 characters of ASCII: a
        close frame has room for 123 bytes."""
        said = reason.encode("ascii", "replace").decode()[:100]
        with anyio.move_on_after(CLOSE_SECONDS):
            await self._send({"type": "websocket.close", "code": code, "reason": said})
