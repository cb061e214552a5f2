"""Server processes for an agent: a hub behind a WebSocket on loopback, and a balancer before several."""

import itertools
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import anyio
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from postern.gateway.agent.dial import SUBPROTOCOL, Dialled
from postern.gateway.hub import Hub
from postern.gateway.link_io import LinkIO

AGENT: Any = SimpleNamespace(object_id="agent-oid", kind="application")
"""A caller as far as a hub looks at one."""


class Node:
    """One server process. `tokens` has the bearer tokens that came."""

    def __init__(self, name: str, nodes: Callable[[], Sequence[str]]) -> None:
        self.name = name
        self.hub = Hub(["madrid"], node=name, nodes=nodes, version="0.2.0")
        self.tokens: list[str] = []
        self.links = 0
        self.reject: HTTPStatus | None = None
        self.expires_at = float("inf")

    async def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Before the upgrade."""
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.reject is not None:
            return connection.respond(self.reject, '{"detail": "the role is missing"}')
        return None if request.path == "/gateways/madrid/link" else connection.respond(HTTPStatus.NOT_FOUND, "")

    async def link(self, connection: ServerConnection) -> None:
        """One link."""
        self.links += 1
        io = LinkIO(Dialled(connection), client_side=True)  # type: ignore[arg-type]  # the same methods
        await connection.close(reason=await self.hub.serve("madrid", AGENT, self.expires_at, io))

    def agents(self) -> list[str]:
        """The agents with a link that takes tunnels."""
        return [link.agent for link in self.hub.connected("madrid")]


class Cluster:
    """Some nodes at one address, each connection at the one that `choose` gives."""

    def __init__(self, names: Sequence[str], choose: Callable[[Sequence[Node]], Node]) -> None:
        self.nodes = [Node(name, lambda: [node.name for node in self.nodes]) for name in names]
        self._choose = choose
        self._of: dict[ServerConnection, Node] = {}
        self.url = ""
        self.dials = 0

    async def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Choose a node."""
        self.dials += 1
        node = self._of[connection] = self._choose(self.nodes)
        return await node.check(connection, request)

    async def link(self, connection: ServerConnection) -> None:
        """One link."""
        await self._of.pop(connection).link(connection)


def in_turn() -> Callable[[Sequence[Node]], Node]:
    """A balancer that takes one after the other."""
    count = itertools.count()
    return lambda nodes: nodes[next(count) % len(nodes)]


def at_random(seed: int) -> Callable[[Sequence[Node]], Node]:
    """A balancer that takes any."""
    return random.Random(seed).choice


@asynccontextmanager
async def cluster(
    *names: str,
    choose: Callable[[Sequence[Node]], Node] | None = None,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Cluster]:
    """It listens while the block runs."""
    made = Cluster(names, choose or in_turn())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            serve(
                made.link,
                "127.0.0.1",
                port,
                ssl=tls,
                process_request=made.check,
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
                compression=None,
                ping_interval=None,
                close_timeout=0.1,
            )
        )
        made.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        group = await stack.enter_async_context(anyio.create_task_group())
        for node in made.nodes:
            group.start_soon(node.hub.run)
        yield made
        group.cancel_scope.cancel()
        for node in made.nodes:
            node.hub.end(lambda _: True)
