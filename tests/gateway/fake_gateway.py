"""A gateway without an agent's process: its tunnels are sockets of this machine. It passes `contract.py`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio

from postern.tunnels import Reason, Tunnel, TunnelRefused
from tests.gateway.contract import AGENT, CLOSED, GATEWAY, HOST, PORT


class SocketTunnel(Tunnel):
    """A socket as a tunnel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: str) -> None:
        self.agent, self.gateway = agent, GATEWAY
        self._reader, self._writer = reader, writer
        self._lost = self._closed = self.going = False

    @property
    def ended(self) -> bool:
        return self._lost or self._closed or self.going or self._reader.at_eof()

    def lose(self) -> None:
        """The agent is gone."""
        self._lost = True
        self._reader.set_exception(ConnectionResetError())
        self._writer.transport.abort()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            found = await self._reader.read(max_bytes)
        except OSError:
            raise anyio.BrokenResourceError from None
        if not found:
            raise anyio.EndOfStream
        return found

    async def send(self, item: bytes) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._lost:
            raise anyio.BrokenResourceError
        try:
            self._writer.write(item)
            await self._writer.drain()
        except OSError:
            raise anyio.BrokenResourceError from None

    async def send_eof(self) -> None:
        self._writer.write_eof()

    async def aclose(self) -> None:
        self._closed = True
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@dataclass
class FakeGateway:
    """`ports` has the local port of each address, and `refusing` the reasons of the next attempts. `opened` has the
    arguments of each attempt, and `waited` whether it waits for an agent."""

    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    refusing: list[Reason] = field(default_factory=list)
    opened: list[tuple[str, str, int, str, bool, float]] = field(default_factory=list)
    waited: list[bool] = field(default_factory=list)
    tunnels: list[SocketTunnel] = field(default_factory=list)
    agent: str = AGENT

    async def open(
        self, gateway: str, host: str, port: int, *, entry: str, ends_tls: bool, wait: float, for_agent: bool = True
    ) -> SocketTunnel:
        self.opened.append((gateway, host, port, entry, ends_tls, wait))
        self.waited.append(for_agent)
        if not self.agent or gateway != GATEWAY:
            text = f"no agent of gateway {gateway} is connected"
            raise TunnelRefused(Reason.NO_AGENT, gateway, "", host, port, text)
        if self.refusing:
            raise TunnelRefused(self.refusing.pop(0), gateway, self.agent, host, port)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports.get((host, port), 1))
        except OSError:
            raise TunnelRefused(Reason.TARGET_REFUSED, gateway, self.agent, host, port) from None
        self.tunnels.append(SocketTunnel(reader, writer, self.agent))
        return self.tunnels[-1]

    async def lose(self) -> None:
        self.agent = ""
        for tunnel in self.tunnels:
            tunnel.lose()


@asynccontextmanager
async def fake_world() -> AsyncIterator[FakeGateway]:
    """The world of the contract."""

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while (found := await reader.read(65536)) not in (b"", b"end"):
                writer.write(found)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(repeat, "127.0.0.1", 0)
    fake = FakeGateway({(HOST, PORT): server.sockets[0].getsockname()[1], CLOSED: 1})
    try:
        yield fake
    finally:
        for tunnel in fake.tunnels:
            await tunnel.aclose()
        server.close()
