"""The hub and its links keep the contract of tunnels that connections rely on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from postern.gateway.reasons import REASON_HEADER, STATUS, Reason
from postern.gateway.streams import LinkStream
from postern.tunnels import OpenTunnel
from tests.gateway.contract import AGENT, CLOSED, CONTRACT, GATEWAY, World
from tests.gateway.ends import Wire
from tests.gateway.test_hub import Site, site

pytestmark = pytest.mark.anyio


async def serve(stream: LinkStream) -> None:
    """Repeats what it gets until it has read `end`. Nothing listens at CLOSED."""
    if stream.request[":authority"] == "{}:{}".format(*CLOSED):
        reason = Reason.TARGET_REFUSED
        await stream.answer(STATUS[reason], ((REASON_HEADER, reason),), end=True)
        return
    await stream.answer(200)
    async for data in stream:
        if data == b"end":
            break
        await stream.send(data)
    await stream.send_eof()


@dataclass
class HubWorld:
    """A hub with one agent, over messages in memory."""

    here: Site
    wires: list[Wire]

    @property
    def open(self) -> OpenTunnel:
        return self.here.hub.open

    async def lose(self) -> None:
        for wire in self.wires:
            wire.close()


@asynccontextmanager
async def hub_world() -> AsyncIterator[HubWorld]:
    async with site() as here:
        await here.agent(AGENT, serve, gateway=GATEWAY)
        yield HubWorld(here, here.wires)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_a_hub_keeps_the_contract(check: Callable[[World], Awaitable[None]]):
    async with hub_world() as world:
        await check(world)
