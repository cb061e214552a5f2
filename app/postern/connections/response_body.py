"""The body of a reply, limited in size and time, and texts for the HTTP client's errors that repeat nothing from the
other side."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from ssl import SSLError
from typing import cast

from postern.connections.by_gateway import of_gateway
from postern.connections.content_coding import NotUnpacked, Unpacker, is_known, shown
from postern.connections.faults import ConnectionFault, ResponseFault
from postern.connections.unreached import remedy
from postern.http_client import (
    AgentLost,
    AsyncByteStream,
    ConnectError,
    ConnectTimeout,
    LocalProtocolError,
    NotOpened,
    ReadError,
    ReadTimeout,
    Request,
    TransportError,
)

LEAST_COUNTED = 128
"""The bytes that a shorter piece counts as, because many short pieces take far more memory than their length."""


PIECES_IN_A_ROW = 32
"""After how many pieces of a body other requests have their turn. A read of the socket may bring thousands."""


_FIX = "Let the other side, or a proxy in front of it, respond with gzip or without a content coding"


class Body(AsyncByteStream):
    """A reply's body of at most `most` bytes. It is closed at `deadline` (of the event loop's clock), even if it is not
    being read, so that it does not hold its connection. `coding` is a content coding that was not requested: such a
    body is unpacked, and `most` limits what it unfolds to. A body of an unknown coding is not read. `done` is called
    once, when the body is closed.

    Reading raises ConnectionFault if the body is too large, and the HTTP client's errors.
    """

    def __init__(
        self,
        stream: AsyncByteStream,
        entry: str,
        *,
        most: int,
        deadline: float,
        coding: str,
        done: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._entry = entry
        self._most = most
        self._deadline = deadline
        self._coding = coding
        self._unpacker = Unpacker(coding) if is_known(coding) else None
        self._done: Callable[[], None] | None = done
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(deadline, self._expire)
        self._closing: asyncio.Task[None] | None = None
        self._loaded: list[bytes] | None = None

    async def load(self) -> None:
        """Read the whole body now, so that what breaks off in it breaks off here. Iterating gives what was read."""
        try:
            self._loaded = [piece async for piece in self]
        finally:
            await self.aclose()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces."""
        if self._loaded is not None:
            for loaded in self._loaded:
                yield loaded
            return
        try:
            async with aclosing(self._unpacked()) as parts:
                async for part in parts:
                    yield part
        except NotUnpacked:
            await self.aclose()
            raise ResponseFault(
                self._entry, f"responded with a body that is not in {shown(self._coding)}, as its header says", _FIX
            ) from None

    async def _unpacked(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces as it arrives, unpacked. Raises NotUnpacked."""
        received = unpacked = pieces_read = 0
        async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(self._stream))) as pieces:
            while (piece := await self._next(pieces)) is not None:
                received += max(len(piece), LEAST_COUNTED)
                await self._check(received)
                for part in (piece,) if self._unpacker is None else self._unpacker.unpack(piece):
                    if self._unpacker is not None:
                        unpacked += max(len(part), LEAST_COUNTED)
                        await self._check(unpacked)
                    pieces_read += 1
                    if pieces_read % PIECES_IN_A_ROW == 0:  # what has arrived is read without a turn of the loop
                        await asyncio.sleep(0)
                    yield part
        if self._unpacker is not None:
            self._unpacker.end()

    async def aclose(self) -> None:
        """Release the connection."""
        self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            try:
                await self._stream.aclose()
            finally:
                done()

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes | None:
        if self._closing is not None:
            raise ReadTimeout(too_late(self._entry))
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(pieces, None)
        except TimeoutError:
            await self.aclose()
            raise ReadTimeout(too_late(self._entry)) from None
        except (TransportError, SSLError) as error:
            raise worded(error, self._entry) from None

    async def _check(self, taken: int) -> None:
        wrong, fix = "", ""
        if self._coding and self._unpacker is None:
            wrong = f"responded with {shown(self._coding)}, although none was requested"
            fix = _FIX
        elif taken > self._most:
            wrong = f"responded with more than {self._most} bytes"
            fix = "Request less at a time, or raise max_response_bytes of the entry"
        if wrong:
            await self.aclose()
            raise ResponseFault(self._entry, wrong, fix)

    def _expire(self) -> None:
        self._closing = self._loop.create_task(self.aclose())


def worded(error: TransportError | SSLError, entry: str, request: Request | None = None) -> Exception:
    """The same error with our own text, because the library's may repeat a request header or the other side's text.
    For a failed connection the text of the operating system or of TLS is kept. An SSLError comes from a connection
    that breaks in its encryption, which the library passes on as it is."""
    if isinstance(error, SSLError):
        error = ReadError("")
    if isinstance(error, NotOpened | AgentLost):
        return of_gateway(error, entry, request)
    if isinstance(error, LocalProtocolError):
        return ConnectionFault(
            entry,
            "has a request that cannot be sent, because a header or the body's length is not well-formed",
            "Look for line breaks in header values, and in the secret where it is sent in a header",
        )
    text = f"{entry} could not be called: {type(error).__name__}"
    if isinstance(error, ConnectError | ConnectTimeout) and str(error):
        text += f", {error}"
    fix = remedy(error)
    if fix:
        text += f". {fix}"
    return type(error)(text, request=request)


def too_late(entry: str) -> str:
    """The text for an entry that timed out."""
    return f"{entry} did not send its whole response within the timeout"


class NoCredential(ConnectTimeout):
    """A request that was not sent, because it waited for its credential until it timed out."""


def no_credential(entry: str) -> str:
    """The text for a request that waited for its credential until it timed out."""
    return (
        f"{entry} was not called: it got no credential within its timeout, so its token endpoint or Key Vault is slow"
    )


def no_place(entry: str) -> str:
    """The text for a request that waited for a connection until it timed out."""
    return f"{entry} had no connection free within the timeout, because other requests use all that it may have"
