"""A server of Postern with gateways over real sockets, and agents that connect to it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup
from sqlalchemy import create_engine, select
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from postern.assembly import create_app
from postern.assembly.asgi import Application
from postern.assembly.gateways import LinkRoute
from postern.gateway.endpoint import SUBPROTOCOL
from postern.gateway.hello import AgentState, ServerState, line, objects, server_state
from postern.gateway.hub import Hub
from postern.gateway.link_io import LinkIO, Serve
from postern.gateway.policy import ROLE
from postern.gateway.streams import LinkStream
from postern.journal import schema
from postern.local_tenant import LocalTenant
from postern.server.process import Server, bind, server_config
from postern.settings import Settings
from tests.gateway.ends import echo
from tests.pipeline.pipelines import settings_for

MADRID, OSLO = "invoice-export", "backup-job"
"""Applications of the local tenant that are agents."""


class Messages:
    """The messages of a client's WebSocket, with the errors that a link knows."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            raise anyio.BrokenResourceError from None

    async def receive(self) -> bytes:
        try:
            message = await self._socket.recv()
        except ConnectionClosed:
            raise anyio.EndOfStream from None
        assert isinstance(message, bytes)
        return message


@dataclass
class Agent:
    """A connected agent. `told` is what the server said, `why` why its link ended, `close_reason` what the server wrote
    into the WebSocket's end."""

    io: LinkIO
    socket: ClientConnection
    told: list[ServerState] = field(default_factory=list)
    hello: LinkStream | None = None
    why: str = ""

    async def drain(self, name: str = "madrid-1") -> None:
        """Say that it takes no new tunnels."""
        assert self.hello is not None
        await self.hello.send(line(AgentState(name, "0.2.0", draining=True)))

    @property
    def close_reason(self) -> str:
        return self.socket.close_reason or ""


@dataclass
class Installation:
    """A server that runs. `hub` is that of its application."""

    app: Application
    settings: Settings
    local: LocalTenant
    port: int
    server: Server
    group: TaskGroup

    @property
    def hub(self) -> Hub:
        (hub,) = (route.app.endpoint.hub for route in self.app.routes if isinstance(_app(route), LinkRoute))  # type: ignore[attr-defined]
        assert isinstance(hub, Hub)
        return hub

    def token(self, who: str = MADRID, **changes: Any) -> str:
        return self.local.token(who, **{"roles": [ROLE]} | changes)

    def at(self, gateway: str, token: str | None, **more: Any) -> Any:
        """A WebSocket to be opened."""
        headers: dict[str, str] = more.pop("headers", {})
        if token is not None:
            headers = {"Authorization": f"Bearer {token}"} | headers
        options: dict[str, Any] = {"subprotocols": [SUBPROTOCOL], "compression": None, "ping_interval": None}
        url = f"ws://127.0.0.1:{self.port}/gateways/{gateway}/link"
        return connect(url, additional_headers=headers, proxy=None, max_size=2**20, **options | more)

    async def agent(
        self, gateway: str = "madrid", token: str | None = None, *, name: str = "madrid-1", serve: Serve = echo
    ) -> Agent:
        """An agent whose link runs until the server or the test ends."""
        socket = await self.at(gateway, token or self.token())

        async def serve_all(stream: LinkStream) -> None:
            if stream.request[":method"] == "CONNECT":
                await serve(stream)
                return
            agent.hello = stream
            await stream.answer(200)
            await stream.send(line(AgentState(name, "0.2.0")))
            async for fields in objects(stream):
                agent.told.append(server_state(fields))

        agent = Agent(LinkIO(Messages(socket), client_side=False, serve=serve_all), socket)

        async def run() -> None:
            try:
                agent.why = await agent.io.run()
            finally:
                with anyio.CancelScope(shield=True):
                    await socket.close()

        self.group.start_soon(run)
        await eventually(lambda: agent.told)
        await eventually(lambda: any(link.agent == name for link in self.hub.links[gateway]))
        return agent

    async def refusals(self, count: int) -> list[Mapping[str, Any]]:
        """The records of rejected requests, once there are so many."""
        engine = create_engine(self.settings.database_url)
        try:
            with anyio.fail_after(20):
                while True:
                    with engine.connect() as connection:
                        found = connection.execute(select(schema.refusals).order_by(schema.refusals.c.id)).mappings()
                        rows: list[Mapping[str, Any]] = [dict(row) for row in found]
                    if len(rows) >= count:
                        return rows
                    await anyio.sleep(0.05)
        finally:
            engine.dispose()


def _app(route: Any) -> Any:
    return getattr(route, "app", None)


async def eventually(condition: Any) -> None:
    """Waits for what another task does."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)


@asynccontextmanager
async def installation(
    local: LocalTenant,
    folder: Path,
    *,
    proxies: tuple[str, ...] = (),
    workflows: str = "",
    further: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> AsyncIterator[Installation]:
    """A server with the gateways madrid and oslo, each with one agent of its own, and `further` ones with theirs."""
    place = folder / "workflows"
    place.mkdir()
    if workflows:
        (place / "module.py").write_text(workflows, encoding="utf-8")
    named = (("madrid", MADRID), ("oslo", OSLO), *further)
    agents = {name: {"agents": [object_id(local, who)]} for name, who in named}
    settings = settings_for(local, place, gateways=agents, **more)
    app = create_app(settings)
    config = server_config(app, port=0, trusted_proxies=proxies)
    server = Server(config, grace=5.0, idle=0.05)
    listener = bind(config)
    port = listener.getsockname()[1]
    config.load()
    serving = asyncio.create_task(server._serve([listener]))
    await eventually(lambda: server.started)
    try:
        async with anyio.create_task_group() as group:
            yield Installation(app, settings, local, port, server, group)
            group.cancel_scope.cancel()
    finally:
        if not server.stop_signal:  # a second one would cut off the application
            server.handle_exit(2, None)
        await serving


def object_id(local: LocalTenant, name: str) -> str:
    return local.who(name).object_id
