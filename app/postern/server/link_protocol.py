"""The connection of a link: a WebSocket of uvicorn, which the application sees as a request until it accepts it.

So everything that holds for requests holds here too: networks, hosts, proxies, identity, refusals. A rejection is an
ordinary response, before the upgrade. The application finds a `LinkSocket` in the scope of such a request.
"""

import asyncio
import logging
from contextvars import Context
from typing import Any, cast

import anyio
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from postern.server.link_socket import LINK, LinkSocket, Receive, Send
from postern.triggers.secure_transport import unmapped

HIGH_WATER = 256 * 1024
"""Unsent bytes of a link beyond which it is written no more."""

CLOSE_SECONDS = 5.0
"""How long a peer may take to read the rest, once the application is done with a link."""

SCHEMES = {"ws": "http", "wss": "https"}

quiet = logging.getLogger("postern.links")
"""uvicorn's lines for each WebSocket have the query string, those of `websockets` at debug the headers."""
quiet.setLevel(logging.WARNING)


class LinkProtocol(WebSocketsSansIOProtocol):
    """One link."""

    awaited = False
    """The server's stop does not wait for it: it stays for the runs that go on, and is closed after them."""

    _abort_timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = self.conn.logger = quiet
        self.conn.debug = False
        self.application, self.app = self.app, self._as_request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        super().connection_made(transport)
        self.client = unmapped(self.client)
        cast("asyncio.Transport", transport).set_write_buffer_limits(HIGH_WATER)

    def handle_ping(self) -> None:
        """Answers wait for no reader, so a peer that reads nothing gets none."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def drain(self, patience: float) -> None:
        """Runs may still need it."""

    async def _as_request(self, scope: Any, receive: Receive, send: Send) -> None:
        """Show the application a request of which nothing but the head has come."""
        socket = LinkSocket(receive, send, tuple(scope["subprotocols"]))
        request = {key: value for key, value in scope.items() if key not in ("subprotocols", "extensions")}
        request |= {"type": "http", "method": "GET", "scheme": SCHEMES[scope["scheme"]], LINK: socket}
        try:
            await self.application(request, _no_body(), socket.respond)
        finally:
            if not self.disconnected:
                self._abort_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort, context=Context())
        if self.initial_response is not None:
            self.handshake_complete = True  # else uvicorn takes a rejection for a fault of the application


def _no_body() -> Receive:
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await anyio.sleep_forever()
        sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive
