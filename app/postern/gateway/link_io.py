"""A link over messages: reads, writes, pings, and gives streams."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from postern.gateway.link import UNWRITTEN, Answered, Event, Head, Link, LinkError, WindowOpened
from postern.gateway.streams import LinkStream

PING_EVERY = 3.0
"""Seconds."""

SILENCE = 9.0
"""Seconds without a message after which the peer counts as gone."""

WRITE_SECONDS = 30.0
"""Seconds in which a peer that sends must take one message of ours, which has at most 512 KiB."""

BUSY_LOOP = 0.1
"""Seconds in which a process that did nothing for long reads what has arrived, before it calls its peer silent."""

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]
Serve = Callable[[LinkStream], Awaitable[None]]

CLOSED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

log = structlog.get_logger(__name__)


class Messages(Protocol):
    """What a link runs over: a WebSocket. Its errors are those of anyio, or OSError."""

    async def send(self, message: bytes) -> None:
        """Waits while the transport has too much unwritten."""

    async def receive(self) -> bytes:
        """One message. Raises EndOfStream or BrokenResourceError after the last one."""


class LinkIO:
    """One end of a link. The client side opens streams; the other hands each new stream to `serve`, in a task of its
    own. `run` does everything and must run as long as the link. `clock` gives seconds."""

    def __init__(
        self,
        messages: Messages,
        *,
        client_side: bool,
        serve: Serve | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self.link = Link(client_side=client_side, clock=clock)
        self.ended: str | None = None
        """Why the link ended; None while it runs."""
        self.round_trip: float | None = None
        """Seconds that the last answered ping took."""
        self.received = 0
        self.sent = 0
        """Bytes."""
        self._messages = messages
        self._serve = serve
        self.clock = clock
        self.sleep = sleep
        self._streams: dict[int, LinkStream] = {}
        self._heard = clock()
        self._pinged: float | None = None
        self._pings = 0
        self._writing = 0
        self._began_writing = 0.0
        self._output = asyncio.Event()
        self._room = asyncio.Event()
        self._scope = anyio.CancelScope()

    @property
    def streams(self) -> int:
        """How many are open."""
        return self.link.streams

    @property
    def answering(self) -> bool:
        """Whether the last ping was answered, or is not overdue."""
        return self._pinged is None or self.clock() - self._pinged < PING_EVERY

    async def run(self) -> str:
        """Runs until the link ends, and says why. All its streams are broken then. A cancelled one ends too."""
        try:
            async with anyio.create_task_group() as group:
                self._scope = group.cancel_scope
                if self.ended is not None:
                    self._scope.cancel()
                group.start_soon(self._until_fault, self._read, group)
                for task in (self._write, self._ping, self._watch):
                    group.start_soon(self._until_fault, task)
        finally:
            self.stop("the link was stopped")
        return self.ended or ""

    def stop(self, reason: str) -> None:
        """Ends the link at once; what is unwritten is dropped. Does nothing to a link that has ended."""
        if self.ended is not None:
            return
        self.ended = reason
        for stream in self._streams.values():
            stream.break_off(reason)
        self._streams.clear()
        self._room.set()
        self._scope.cancel()

    def open(self, head: Iterable[tuple[str, str]]) -> LinkStream:
        """A new stream. Raises LinkFull, or LinkError where the link has ended."""
        if self.ended is not None:
            raise LinkError(self.ended)
        fields = tuple(head)
        try:
            number = self.link.open(fields)
        except LinkError as error:
            self.stop(error.reason)
            raise
        stream = self._streams[number] = LinkStream(self, number, dict(fields))
        self.written()
        return stream

    # for streams

    async def room(self) -> None:
        """Waits until the link has less unwritten than its limit."""
        while self.ended is None and self.link.unwritten + self._writing >= UNWRITTEN:
            self._room.clear()
            await self._room.wait()

    def written(self) -> None:
        """Something was handed to the link."""
        self._output.set()

    def closed(self, number: int) -> None:
        """A stream was closed at this end."""
        self._streams.pop(number, None)

    # the tasks

    async def _until_fault(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await task(*arguments)
        except LinkError as error:
            self.stop(error.reason)
        except CLOSED:
            self.stop("the connection was closed")

    async def _read(self, group: TaskGroup) -> None:
        while True:
            message = await self._messages.receive()
            self._heard = self.clock()
            self.received += len(message)
            for event in self.link.receive(message):
                self._happened(event, group)
            if self.link.unwritten:
                self.written()

    async def _write(self) -> None:
        while True:
            await self._output.wait()
            self._output.clear()
            while data := self.link.take():
                self._writing, self._began_writing = len(data), self.clock()
                await self._messages.send(data)
                self.sent += len(data)
                self._writing = 0
                self._room.set()

    async def _ping(self) -> None:
        """At most one ping is on its way, so a link that writes slowly is not filled with them."""
        while True:
            if self._pinged is None:
                self._pings += 1
                self._pinged = self.clock()
                self.link.ping(self._pings.to_bytes(8))
                self.written()
            await self.sleep(PING_EVERY)

    async def _watch(self) -> None:
        """A timer of its own: a check at each ping would see silence seconds later."""
        while True:
            await self.sleep(max(BUSY_LOOP, self._heard + SILENCE - self.clock()))
            if self._silent():
                await self.sleep(BUSY_LOOP)
                if self._silent():
                    raise LinkError(f"silent for {math.floor(self.clock() - self._heard)} s")
            if self._writing and self.clock() - self._began_writing >= WRITE_SECONDS:
                raise LinkError("the peer reads nothing")

    def _silent(self) -> bool:
        return self.clock() - self._heard >= SILENCE

    # what happened

    def _happened(self, event: Event, group: TaskGroup) -> None:
        match event:
            case Answered(data):
                self._ponged(data)
            case WindowOpened(0):
                for stream in self._streams.values():
                    stream.happened(event)
            case _ if known := self._streams.get(event.stream):
                known.happened(event)
            case Head() if self._serve is not None:
                opened = self._streams[event.stream] = LinkStream(self, event.stream, event.fields, serves=True)
                group.start_soon(self._served, self._serve, opened)

    def _ponged(self, data: bytes) -> None:
        if self._pinged is not None and data == self._pings.to_bytes(8):
            self.round_trip = self.clock() - self._pinged
            self._pinged = None

    async def _served(self, serve: Serve, stream: LinkStream) -> None:
        """A fault of `serve` is answered, or the peer would wait for ever."""
        try:
            await serve(stream)
        except CLOSED:
            pass
        except Exception:
            log.exception("gateway-stream-failed", stream=stream.request.get(":authority"))
            await self._fault(stream)
        finally:
            await stream.aclose()

    @staticmethod
    async def _fault(stream: LinkStream) -> None:
        if not (stream.answered or stream.ended):
            await stream.answer(500, end=True)
