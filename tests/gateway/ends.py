"""Two ends of a link in one process, over messages in memory, with a clock that the test moves."""

import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from postern.gateway.link_io import LinkIO, Serve
from postern.gateway.streams import LinkStream

TURNS = 60
"""A message passes some ten tasks from one end's caller to the other's."""

QUEUE = 16
"""Messages in flight each way."""


class Time:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        event = anyio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Wakes each sleeper at its time, and lets the others work in between."""
        end = self.now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, event = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            event.set()
            await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Lets all tasks go on with what is ready. (`wait_all_tasks_blocked` of anyio sleeps for 0.1 s.)"""
    for _ in range(TURNS):
        await checkpoint()


@dataclass
class Wire:
    """One end's messages. `held`: nothing is read or written, as in a stopped process. `stuck`: nothing is written, as
    to a peer that does not read."""

    sends: MemoryObjectSendStream[bytes]
    receives: MemoryObjectReceiveStream[bytes]
    held: bool = False
    stuck: bool = False
    split: Callable[[bytes], list[bytes]] = field(default=lambda message: [message])

    async def send(self, message: bytes) -> None:
        if self.held or self.stuck:
            await anyio.sleep_forever()
        for part in self.split(message):
            await self.sends.send(part)

    async def receive(self) -> bytes:
        message = await self.receives.receive()
        if self.held:
            await anyio.sleep_forever()
        return message

    def close(self) -> None:
        self.sends.close()
        self.receives.close()


@dataclass
class Ends:
    """`server` opens streams, `agent` serves them."""

    server: LinkIO
    agent: LinkIO
    server_wire: Wire
    agent_wire: Wire
    time: Time


async def echo(stream: LinkStream) -> None:
    """Answers 200 and sends back all that comes."""
    await stream.answer(200)
    async for data in stream:
        await stream.send(data)
    await stream.send_eof()


def wires() -> tuple[Wire, Wire]:
    one_way, other_end = anyio.create_memory_object_stream[bytes](QUEUE)
    back, this_end = anyio.create_memory_object_stream[bytes](QUEUE)
    return Wire(one_way, this_end), Wire(back, other_end)


@asynccontextmanager
async def ends(serve: Serve = echo) -> AsyncIterator[Ends]:
    """Both run; they are stopped at the end."""
    time = Time()
    server_wire, agent_wire = wires()
    server = LinkIO(server_wire, client_side=True, clock=time, sleep=time.sleep)
    agent = LinkIO(agent_wire, client_side=False, serve=serve, clock=time, sleep=time.sleep)
    async with anyio.create_task_group() as group:
        group.start_soon(server.run)
        group.start_soon(agent.run)
        try:
            yield Ends(server, agent, server_wire, agent_wire, time)
        finally:
            group.cancel_scope.cancel()
            server_wire.close()
            agent_wire.close()
