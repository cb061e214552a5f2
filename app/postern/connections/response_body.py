"""The body of a reply, bounded in size and time, and the errors of the HTTP client in words that repeat nothing of the
other side's."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

from postern.connections.faults import ConnectionFault
from postern.http_client import (
    AsyncByteStream,
    ConnectError,
    LocalProtocolError,
    ReadTimeout,
    Request,
    TransportError,
)

LEAST_COUNTED = 128
"""Bytes: a shorter piece counts as much, because a list of very short ones takes many times their length."""


class Body(AsyncByteStream):
    """A reply's body: at most `most` bytes, until `deadline` (of the event loop's clock). When that comes it is closed,
    whether somebody reads it or not, so that it cannot hold its connection for ever. `encoding` is the coding that it
    came in although none was asked for: what would unfold is not read. `done` is called once, when it is closed.

    Reading raises ConnectionFault where it is too large, and the HTTP client's errors.
    """

    def __init__(
        self,
        stream: AsyncByteStream,
        entry: str,
        *,
        most: int,
        deadline: float,
        encoding: str,
        done: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._entry = entry
        self._most = most
        self._deadline = deadline
        self._encoding = encoding
        self._done: Callable[[], None] | None = done
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(deadline, self._expire)
        self._closing: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces."""
        taken = 0
        async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(self._stream))) as pieces:
            while (piece := await self._next(pieces)) is not None:
                taken += max(len(piece), LEAST_COUNTED)
                await self._check(taken)
                yield piece

    async def aclose(self) -> None:
        """Let go of the connection."""
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
        except TransportError as error:
            raise worded(error, self._entry) from None

    async def _check(self, taken: int) -> None:
        wrong, fix = "", ""
        if self._encoding:
            wrong = "answered in a content encoding, although it was asked for none"
            fix = "Find an address of the other side that answers without one"
        elif taken > self._most:
            wrong = f"answered with more than {self._most} bytes"
            fix = "Ask for less at a time, or raise max_response_bytes of the entry"
        if wrong:
            await self.aclose()
            raise ConnectionFault(self._entry, wrong, fix)

    def _expire(self) -> None:
        self._closing = self._loop.create_task(self.aclose())


def worded(error: TransportError, entry: str, request: Request | None = None) -> Exception:
    """The same error with a text of our own: the library's may repeat a header of the request, or what the other side
    wrote. Only where no connection came about it is the operating system's, or that of TLS."""
    if isinstance(error, LocalProtocolError):
        return ConnectionFault(
            entry,
            "has a request that cannot be sent, because a header or the body's length is not well-formed",
            "Look for line breaks in header values, and in the secret where it is sent in a header",
        )
    text = f"{entry} could not be called: {type(error).__name__}"
    if isinstance(error, ConnectError):
        text += f", {error}"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        text += ". POSTERN_CA_BUNDLE names the authorities to trust"
    return type(error)(text, request=request)


def too_late(entry: str) -> str:
    """What is said where the time of an entry is over."""
    return f"{entry} did not answer in full within its timeout"
