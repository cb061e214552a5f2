"""One request and its answer on the wire, and the short way out for whole answers."""

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from app.triggers.protocol import GuardedProtocol

AT_ONCE = "postern.answer"
"""Where the scope has the short way out: a function of status, headers and content that sends a whole answer in one
write, or returns False where the usual way (two ASGI messages) has to be taken."""


class Cycle(RequestResponseCycle):
    """One request and its answer. What is the same for all of them stands on the class, and the event that wakes who
    waits for a body is a flag until somebody waits: uvicorn's own costs several times as much to make."""

    disconnected = False
    waiting_for_100_continue = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    access_log = False
    _came = False
    _taken = False
    _waiter: asyncio.Event | None = None

    def __init__(self, protocol: "GuardedProtocol", *, keep_alive: bool) -> None:
        self.protocol = protocol
        self.scope = protocol.scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self.keep_alive = keep_alive
        self.body = bytearray()
        if protocol.expect_100_continue:
            self.waiting_for_100_continue = True

    def answer_at_once(self, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> bool:
        """Send a whole answer to a request that has arrived whole, or return False. The headers are the server's own or
        were checked when their author made them, so they are not searched for line breaks again."""
        protocol = self.protocol
        if (
            self.transport is not protocol.transport
            or not self.keep_alive
            or self.response_started
            or self.disconnected
            or self.waiting_for_100_continue
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
        ):
            return False
        parts = [STATUS_LINE[status]]
        for name, value in self.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", content)
        self.response_started = self.response_complete = True
        self._came = True
        protocol.write_soon(b"".join(parts))
        protocol.on_response_complete()
        return True

    async def receive(self) -> ASGIReceiveEvent:
        """The next part of the body. One that has arrived whole, as most have, is handed over without waiting."""
        if self.more_body or self._taken or self.disconnected or self.response_complete:
            return await super().receive()
        self._taken = True
        self._came = False
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    @property
    def message_event(self) -> "Cycle":  # type: ignore[override]
        """Its own event."""
        return self

    def set(self) -> None:
        """Something came: a part of the body, its end, or the end of the connection."""
        self._came = True
        if self._waiter is not None:
            self._waiter.set()

    def clear(self) -> None:
        """What came has been taken."""
        self._came = False
        if self._waiter is not None:
            self._waiter.clear()

    async def wait(self) -> None:
        """Wait until something has come."""
        if not self._came:
            if self._waiter is None:
                self._waiter = asyncio.Event()
            await self._waiter.wait()


class LingeringTransport(asyncio.Transport):
    """What the answer to an incomplete request is written to: the connection's transport, closed with patience."""

    def __init__(self, protocol: "GuardedProtocol") -> None:
        super().__init__()
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.linger()
