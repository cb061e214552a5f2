"""The streams of a link, as byte streams of anyio."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import anyio
from anyio.abc import ByteStream

from postern.gateway.link import Data, Ended, Event, Head, Link, LinkError, WasReset

Fields = tuple[tuple[str, str], ...]

CHUNK = 64 * 1024


class Sending(Protocol):
    """What a stream needs of its link."""

    link: Link

    async def room(self) -> None:
        """Waits until the link has less unwritten than its limit."""

    def written(self) -> None:
        """Something was handed to the link."""

    def closed(self, number: int) -> None:
        """A stream was closed at this end."""


class LinkStream(ByteStream):
    """One stream of a link, at either end. `request` is the head that opened it.

    Bytes that came before the peer broke the stream off are still received. Errors are those of anyio: EndOfStream
    after the last byte, BrokenResourceError for a broken stream or link, ClosedResourceError after `aclose`."""

    def __init__(self, io: Sending, stream: int, request: Mapping[str, str], *, serves: bool = False) -> None:
        """`serves`: the peer opened it, and this end answers."""
        self.request = request
        self._unanswered = serves
        self._io = io
        self._id = stream
        self._reply: Mapping[str, str] | None = None
        self._buffer = bytearray()
        self._broken: str | None = None
        self._gone = anyio.Event()
        self._no_more = False
        self._sent_end = False
        self._closed = False
        self._changed = asyncio.Event()
        self._answered = False

    # the caller's side

    @property
    def ended(self) -> bool:
        """Whether nothing more arrives, or the stream is broken or closed. Bytes that arrived may still be there."""
        return self._no_more or self._closed or self._broken is not None

    @property
    def answered(self) -> bool:
        """Whether the peer (for the client side) or this end (for the other) sent the answer's head."""
        return self._answered or self._reply is not None

    async def reply(self) -> Mapping[str, str]:
        """The head of the answer. Raises BrokenResourceError."""
        while self._reply is None:
            self._raise_broken()
            await self._change()
        return self._reply

    async def answer(self, status: int, fields: Fields = (), *, end: bool = False) -> None:
        """Send the answer's head, once."""
        if not self._unanswered:
            raise RuntimeError("this stream is answered already, or by its other end")
        self._raise_ended()
        self._io.link.answer(self._id, ((":status", str(status)), *fields), end=end)
        self._answered, self._unanswered = True, False
        self._sent_end = end
        self._io.written()

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """At least one byte, at most `max_bytes`."""
        while not self._buffer:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._no_more:  # also if it was broken off afterwards: what was sent has arrived whole
                raise anyio.EndOfStream
            self._raise_broken()
            await self._change()
        if len(self._buffer) <= max_bytes:
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            data = bytes(self._buffer[:max_bytes])
            del self._buffer[:max_bytes]
        self._io.link.consumed(self._id, len(data))
        self._written()
        return data

    async def send(self, item: bytes) -> None:
        """Returns when the link has all of `item`; the peer's window and the link's unwritten bytes make it wait."""
        rest = memoryview(item)
        while rest:
            await self._io.room()
            self._raise_unsendable()
            size = min(len(rest), self._io.link.room(self._id))
            if not size:
                await self._change()
                continue
            self._io.link.send(self._id, rest[:size])
            self._io.written()
            rest = rest[size:]

    async def send_eof(self) -> None:
        """The peer reads to the end; it may still send."""
        if self._sent_end:
            return
        self._raise_unsendable()
        self._io.link.end(self._id)
        self._sent_end = True
        self._io.written()

    async def aclose(self) -> None:
        """Ends the stream in both directions. The peer drops what it still had to send."""
        if self._closed:
            return
        self._closed = True
        if self._broken is None and not (self._sent_end and self._no_more):
            self._io.link.reset(self._id)
            self._io.written()
        self._buffer.clear()
        self._io.closed(self._id)
        self._wake()

    async def until_broken(self) -> None:
        """Returns when the peer has broken the stream off, or the link has ended. Who only waits for others, as for a
        target that does not read, sees it in no other way."""
        await self._gone.wait()

    # the link's side

    def happened(self, event: Event) -> None:
        """The peer did something to this stream, or more may be sent."""
        match event:
            case Data(_, data):
                self._buffer += data
            case Head(_, fields):
                self._reply = fields
            case Ended():
                self._no_more = True
            case WasReset():
                self.break_off("the peer broke the stream off")
        self._wake()

    def break_off(self, reason: str) -> None:
        """The stream or its link ended before its end."""
        if self._broken is None:
            self._broken = reason
            self._gone.set()
            self._wake()

    # within

    def _written(self) -> None:
        if self._io.link.unwritten:
            self._io.written()

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise anyio.BrokenResourceError from LinkError(self._broken)

    def _raise_unsendable(self) -> None:
        if self._unanswered:
            raise RuntimeError("the head of the answer comes first")
        self._raise_ended()

    def _raise_ended(self) -> None:
        if self._closed or self._sent_end:
            raise anyio.ClosedResourceError
        self._raise_broken()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
