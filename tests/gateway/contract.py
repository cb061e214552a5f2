"""What every way to open tunnels does, as its users rely on it. The fake of `fake_gateway.py` and a real hub pass the
same checks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import pytest

from postern.tunnels import OpenTunnel, Reason, Tunnel, TunnelRefused

GATEWAY = "madrid"
AGENT = "madrid-1"
HOST, PORT = "erp.madrid.corp", 443
CLOSED = ("closed.madrid.corp", 443)
"""An address where nothing listens."""


class World(Protocol):
    """One gateway with one agent, which connects HOST to a server that repeats what it gets, and ends when it has
    read `end`."""

    @property
    def open(self) -> OpenTunnel:
        """Opens tunnels by that agent."""
        ...

    async def lose(self) -> None:
        """Cut the agent off."""


async def _opened(world: World) -> Tunnel:
    return await world.open(GATEWAY, HOST, PORT, entry="connections.erp", ends_tls=False, wait=5)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def bytes_go_both_ways(world: World) -> None:
    """And no more of them come at a time than are wanted."""
    tunnel = await _opened(world)
    await tunnel.send(b"one and two")
    assert await tunnel.receive(3) == b"one"
    assert await tunnel.receive(100) == b" and two"
    assert not tunnel.ended
    await tunnel.aclose()


async def a_tunnel_names_its_agent_and_gateway(world: World) -> None:
    """Which records and errors show."""
    tunnel = await _opened(world)
    assert (tunnel.agent, tunnel.gateway) == (AGENT, GATEWAY)
    await tunnel.aclose()


async def much_is_carried_whole(world: World) -> None:
    """More than any window or buffer holds."""
    tunnel = await _opened(world)
    sent = bytes(range(256)) * 4096 * 3

    async def send() -> None:
        for start in range(0, len(sent), 100_000):
            await tunnel.send(sent[start : start + 100_000])

    received = bytearray()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        while len(received) < len(sent):
            received += await tunnel.receive(65536)
    assert bytes(received) == sent
    await tunnel.aclose()


async def the_end_of_the_other_side_is_the_end(world: World) -> None:
    """Which is seen without reading, so that no request goes into it."""
    tunnel = await _opened(world)
    await tunnel.send(b"end")
    await _until(lambda: tunnel.ended)
    with pytest.raises(anyio.EndOfStream):
        await tunnel.receive(10)
    await tunnel.aclose()


async def a_lost_agent_breaks_its_tunnels(world: World) -> None:
    """Both for who reads and for who sends."""
    tunnel = await _opened(world)
    reading = asyncio.ensure_future(tunnel.receive(10))
    await asyncio.sleep(0)
    await world.lose()
    with pytest.raises(anyio.BrokenResourceError):
        async with asyncio.timeout(10):
            await reading
    assert tunnel.ended
    with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
        await tunnel.send(b"more")
    await tunnel.aclose()


async def a_closed_tunnel_can_be_closed_again(world: World) -> None:
    """And nothing is sent in it."""
    tunnel = await _opened(world)
    await tunnel.aclose()
    await tunnel.aclose()
    assert tunnel.ended
    with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
        await tunnel.send(b"more")


async def an_address_where_nothing_listens_is_refused(world: World) -> None:
    """With the names that an error needs."""
    with pytest.raises(TunnelRefused) as caught:
        await world.open(GATEWAY, *CLOSED, entry="connections.erp", ends_tls=False, wait=5)
    found = caught.value
    assert found.reason is Reason.TARGET_REFUSED
    assert (found.gateway, found.agent, found.host, found.port) == (GATEWAY, AGENT, *CLOSED)


async def without_an_agent_nothing_is_opened(world: World) -> None:
    """After the wait, and the text says so."""
    await world.lose()
    with pytest.raises(TunnelRefused) as caught:
        await world.open(GATEWAY, HOST, PORT, entry="connections.erp", ends_tls=False, wait=0.01)
    assert caught.value.reason is Reason.NO_AGENT
    assert GATEWAY in caught.value.text


CONTRACT: tuple[Callable[[World], Awaitable[None]], ...] = (
    bytes_go_both_ways,
    a_tunnel_names_its_agent_and_gateway,
    much_is_carried_whole,
    the_end_of_the_other_side_is_the_end,
    a_lost_agent_breaks_its_tunnels,
    a_closed_tunnel_can_be_closed_again,
    an_address_where_nothing_listens_is_refused,
    without_an_agent_nothing_is_opened,
)
