"""One link of the agent: its WebSocket, what the two ends said of themselves, and its tunnels."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import anyio
import structlog

from postern.gateway.agent.plan import Reached
from postern.gateway.agent.sign_in import Token
from postern.gateway.hello import AgentState, ServerState, line, objects, server_state
from postern.gateway.link import LinkError
from postern.gateway.link_io import LinkIO
from postern.gateway.streams import LinkStream

RENEW_BEFORE = 300.0
"""Seconds before its token expires that a link is replaced."""
RENEW_AGAIN = 60.0
"""Seconds until a link is replaced at the soonest, where a new token expires as soon as the old one."""
DRAIN_SECONDS = 600.0
"""How long a replaced link may take to end."""
HELLO_SECONDS = 10.0
LATE_SECONDS = 0.5
FLUSH_SECONDS = 0.1

CLOSED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)

log = structlog.get_logger(__name__)

Serve = Callable[[LinkStream], Awaitable[None]]


class Socket(Protocol):
    """The messages of a WebSocket."""

    async def send(self, message: bytes) -> None:
        """Send one."""

    async def receive(self) -> bytes:
        """Receive one."""

    async def aclose(self) -> None:
        """Close the connection."""

    @property
    def close_reason(self) -> str:
        """Why the server closed it, "" if it did not say so."""


class Session:
    """A link to one server process. `state` is what the server said last, None before its first line. `changed` is
    called after each change."""

    def __init__(
        self,
        url: str,
        socket: Socket,
        token: Token,
        own: AgentState,
        *,
        connect: Serve,
        changed: Callable[["Session"], None],
        now: float,
    ) -> None:
        self.url = url
        self.began = time.monotonic()
        self.state: ServerState | None = None
        self.duplicate = False
        """Whether another link reaches the same server process."""
        self.renew_at = max(token.expires_on - RENEW_BEFORE, now + RENEW_AGAIN)
        self._own = own
        self._socket = socket
        self._connect = connect
        self._changed = changed
        self._said = anyio.Event()
        self._replaced = anyio.Event()
        self._tunnels = 0
        self._idle = anyio.Event()
        self._idle.set()
        self.io = LinkIO(socket, client_side=False, serve=self._serve)

    @property
    def draining(self) -> bool:
        """Whether this end takes no new tunnels."""
        return self._own.draining

    def reached(self, now: float) -> Reached | None:
        """What this link is for the plan. `now` is in seconds since 1970."""
        if self.state is None or self.io.ended is not None:
            return None
        return Reached(self.url, self.state.node, fresh=now < self.renew_at and not self.draining)

    async def run(self) -> str:
        """Run until the link ends. Returns why it ended: what the server said, if it closed the link."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._expect_hello)
                group.start_soon(self._drain_if_replaced)
                why = await self.io.run()
                group.cancel_scope.cancel()
            said = self._socket.close_reason
        finally:
            with anyio.CancelScope(shield=True):
                await self._socket.aclose()
        return f"the server closed it: {said}" if said else why

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Take no new tunnels, and end the link when those that are open have ended, or after this time. The server
        may have requested a tunnel before it knows."""
        self._own = replace(self._own, draining=True)
        self._said.set()
        with anyio.move_on_after(seconds):
            await anyio.sleep(LATE_SECONDS)
            while self._tunnels or self.io.link.unwritten:
                await self._idle.wait()
                await anyio.sleep(FLUSH_SECONDS)
        self.io.stop("drained")

    def tell(self, nodes: tuple[str, ...], error: str) -> None:
        """Tell the server which server processes the agent reaches, and its last failure, if that is news."""
        own = replace(self._own, nodes=nodes, error=error)
        if own != self._own:
            self._own = own
            self._said.set()

    def replace(self) -> None:
        """There is a newer link to the same server process: drain this one."""
        self._replaced.set()

    async def _drain_if_replaced(self) -> None:
        await self._replaced.wait()
        await self.drain()

    async def _expect_hello(self) -> None:
        await anyio.sleep(HELLO_SECONDS)
        if self.state is None:
            self.io.stop("the server did not say hello")

    async def _serve(self, stream: LinkStream) -> None:
        method, path = stream.request.get(":method"), stream.request.get(":path")
        if method == "CONNECT":
            await self._tunnel(stream)
        elif (method, path) == ("POST", "/hello"):
            await self._hello(stream)
        else:
            await stream.answer(404, end=True)

    async def _tunnel(self, stream: LinkStream) -> None:
        if self._tunnels == 0:
            self._idle = anyio.Event()
        self._tunnels += 1
        try:
            await self._connect(stream)
        finally:
            self._tunnels -= 1
            if self._tunnels == 0:
                self._idle.set()

    async def _hello(self, stream: LinkStream) -> None:
        """Lines in both directions, until the link ends. The server speaks first: a duplicate stays silent, or it would
        replace the other link there."""
        await stream.answer(200)
        why = "the server ended its hello"
        async with anyio.create_task_group() as group:
            try:
                async for fields in objects(stream):
                    first, self.state = self.state is None, server_state(fields)
                    self._changed(self)
                    if first and not self.duplicate:
                        group.start_soon(self._say, stream)
            except LinkError as error:
                why = error.reason
            except CLOSED:
                pass
            group.cancel_scope.cancel()
        self.io.stop(why)

    async def _say(self, stream: LinkStream) -> None:
        """The first line, and one after each change."""
        with suppress(*CLOSED):
            while True:
                self._said = anyio.Event()
                await stream.send(line(self._own))
                await self._said.wait()
