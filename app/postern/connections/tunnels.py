"""The tunnels of all entries that are reached by gateways: one pool for each way."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import Context
from pathlib import Path
from typing import Any

from postern.connections.route import Route
from postern.tunnel_pool import TunnelPool
from postern.tunnels import OpenTunnel, Reason, Tunnel, TunnelRefused


class Tunnels:
    """Pools of tunnels, made on first use: at most `most` in each, of which `kept` wait for further requests. `opener`
    returns what opens them, None if no agent can connect to this process. `ca_bundle` is for ways without one."""

    def __init__(self, opener: Callable[[], OpenTunnel | None], ca_bundle: Path | None, most: int, kept: int) -> None:
        self._opener = opener
        self._ca_bundle = ca_bundle
        self._most = most
        self._kept = kept
        self._pools: dict[Route, TunnelPool] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, route: Route) -> TunnelPool:
        """The pool of a way by a gateway."""
        made = self._pools.get(route)
        if made is None:
            bundle, ends_tls = route.ca_bundle or self._ca_bundle, route.ends_tls
            made = self._pools[route] = TunnelPool(
                route.gateway or "", self.open, bundle, ends_tls=ends_tls, most=self._most, kept=self._kept
            )
        return made

    async def open(self, gateway: str, host: str, port: int, **how: Any) -> Tunnel:
        """A new tunnel, as `OpenTunnel` describes it. Raises TunnelRefused."""
        opened = self._opener()
        if opened is None:
            text = "gateways are connected to the server only, and this process is not one"
            raise TunnelRefused(Reason.NO_AGENT, gateway, "", host, port, text)
        return await opened(gateway, host, port, **how)

    def link_is_going(self, gateway: str) -> None:
        """An agent of this gateway takes no more tunnels: close those that wait for a request."""
        for tunnels in [tunnels for route, tunnels in self._pools.items() if route.gateway == gateway]:
            task = asyncio.get_running_loop().create_task(tunnels.close_ended(), context=Context())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all of them."""
        async with AsyncExitStack() as closing:
            for tunnels in self._pools.values():
                closing.push_async_callback(tunnels.aclose)
