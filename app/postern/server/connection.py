"""One connection: its start, idle time, drain, and a close that does not reset the client."""

import asyncio
from abc import abstractmethod
from asyncio import TimerHandle
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postern.triggers.secure_transport import unmapped

BETWEEN, HEAD, BODY = range(3)
"""Where the parser is in the stream of requests: between two of them, in a head, or in a body and its trailers."""


class ClientConnection(HttpToolsProtocol):
    """The life of one connection. `protocol.py` handles the requests on it. Times are in seconds; subclasses may set
    them."""

    head_seconds = 10.0
    linger_seconds = 1.0
    linger_bytes = 64 * 1024

    _phase = BETWEEN
    _keeps_alive = True
    _stopping = False
    _discarding = False
    _head_timed = False
    _head_timer: TimerHandle | None = None
    _linger_timer: TimerHandle | None = None
    _body_timer: TimerHandle | None = None
    _idle_since: float | None = None
    _unwritten: ClassVar[list[tuple[asyncio.Transport, bytes]]] = []
    """Responses of all connections that wait to be written, in order. A process has one event loop."""

    @abstractmethod
    def _head_late(self) -> None:
        """The first bytes, or the rest of a head, did not come within `head_seconds`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection its time to send a first byte."""
        super().connection_made(transport)
        self.client = unmapped(self.client)
        self._head_timer = self.loop.call_later(self.head_seconds, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind that would keep the connection's objects alive."""
        self._stop_head_timer()
        self._stop_body_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """Close when the pending responses have been sent. A connection that was just accepted may have its first
        request on the way. That request is awaited, since no client tries again after a reset of a new connection."""
        self._stopping = True
        self._keeps_alive = False
        self._write_now()
        if self.cycle is None and self._linger_timer is None and not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(self.linger_seconds, self._close_unused)
        else:
            super().shutdown()

    def drain(self, patience: float) -> None:
        """Close with the next response, or when nothing has come for `patience` seconds. So a proxy that uses an idle
        connection at this moment is still served. Its own idle time has to be shorter."""
        if self._stopping or self._linger_timer is not None:
            return
        if not patience:
            self.shutdown()
            return
        self._stopping = True
        self._keeps_alive = False
        if self.cycle is not None:
            self.cycle.keep_alive = False
        self._linger_timer = self.loop.call_later(patience, self._close_unused)

    def _close_unused(self) -> None:
        self._write_now()
        if self._phase == BETWEEN and not self._responses_due():
            self.transport.close()

    def _idle_too_long(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        self._write_now()
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self.timeout_keep_alive_task = self.loop.call_later(rest, self._idle_too_long)
        else:
            self.transport.close()

    def _responses_due(self) -> bool:
        last = self.cycle
        return bool(self.pipeline) or not (last is None or last.response_complete or last.disconnected)

    def linger(self) -> None:
        """Close in a moment. Bytes that arrive until then are read and dropped: closing a socket with unread bytes
        resets the connection, and the client might never see the response (RFC 9112, section 9.6)."""
        if self._discarding or self.transport.is_closing():
            return
        self._discarding = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._linger_timer = self.loop.call_later(self.linger_seconds, self.transport.close)

    def write_soon(self, data: bytes) -> None:
        """Write a response: at once if no other request is under way, otherwise after the requests that can continue
        now have done so. A system call between two requests evicts their shared code from the processor's caches.
        Many writes in a row, after many requests in a row, took a quarter off the time of each."""
        if len(self.tasks) < 2:
            self.transport.write(data)
            return
        if not self._unwritten:
            self.loop.call_soon(self._write_now)
        self._unwritten.append((self.transport, data))

    def _write_now(self) -> None:
        waiting = self._unwritten[:]
        self._unwritten.clear()
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)

    def _stop_head_timer(self) -> None:
        self._head_timed = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
