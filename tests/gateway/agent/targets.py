"""Targets on loopback, and an agent's end of a link to them."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from postern.gateway.agent.counts import Counts
from postern.gateway.agent.rows import Row
from postern.gateway.agent.serve import Tunnels
from postern.gateway.agent.targets import Targets
from postern.gateway.reasons import REASON_HEADER
from postern.gateway.streams import LinkStream
from tests.gateway.ends import Ends, ends

Handler = Callable[[ByteStream], Awaitable[None]]


@dataclass
class Site:
    """A link, and the tunnels at the agent."""

    both: Ends
    tunnels: Tunnels

    async def open(self, authority: str, *, ends_tls: bool = False) -> LinkStream:
        """What the server gets, with the answer's head."""
        more = (("postern-tls", "gateway"),) if ends_tls else ()
        head = ((":method", "CONNECT"), (":authority", authority), ("postern-entry", "connections.erp"), *more)
        stream = self.both.server.open(head)
        await stream.reply()
        return stream

    async def refusal(self, authority: str, *, ends_tls: bool = False) -> tuple[str, str]:
        """The status and the reason."""
        head = await (await self.open(authority, ends_tls=ends_tls)).reply()
        return head[":status"], head.get(REASON_HEADER, "")


@asynccontextmanager
async def site(rows: Sequence[Row], targets: Targets | None = None) -> AsyncIterator[Site]:
    tunnels = Tunnels(rows, Counts(), targets)
    async with ends(tunnels.serve) as both:
        yield Site(both, tunnels)


@asynccontextmanager
async def target(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a target on loopback."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port: int = listener.extra(SocketAttribute.local_port)
    served = TLSListener(listener, tls, standard_compatible=False) if tls else listener

    async def handle(stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await handler(stream)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(served.serve, handle)
        try:
            yield port
        finally:
            group.cancel_scope.cancel()


@contextmanager
def deaf_target() -> Iterator[int]:
    """The port of a target that the system connects, and that never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


async def read_all(stream: ByteStream) -> bytes:
    """Everything to the end."""
    return b"".join([data async for data in stream])


async def read_until(stream: ByteStream, end: bytes) -> bytes:
    """Bytes up to and with this end, and what came with it."""
    found = b""
    while end not in found:
        found += await stream.receive()
    return found
