"""One connection: its start, idle time, drain, and a close that does not reset the client."""

import asyncio
from abc import abstractmethod
from asyncio import TimerHandle
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from postern.server.outgoing import outgoing_of, unsent
from postern.triggers.secure_transport import unmapped

BETWEEN, HEAD, BODY = range(3)
"""Where the parser is in the stream of requests: between two of them, in a head, or in a body and its trailers."""

HIGH_WATER = 16 * 1024
"""Unsent bytes of a connection beyond which its client has to read before its next request begins. So many are not
watched while the connection is open."""


class ClientConnection(HttpToolsProtocol):
    """The life of one connection. `protocol.py` handles the requests on it. Times are in seconds; subclasses may set
    them.

    `write_seconds`: how long the client may read nothing of what was sent to it. Requests and timers begin in the
    context of the server, never in that of a request before them."""

    head_seconds = 10.0
    linger_seconds = 1.0
    linger_bytes = 64 * 1024
    write_seconds = 30.0

    awaited = True
    """Whether the server's stop waits for the end of the connection."""

    _phase = BETWEEN
    _keeps_alive = True
    _stopping = False
    _discarding = False
    _head_timed = False
    _head_timer: TimerHandle | None = None
    _linger_timer: TimerHandle | None = None
    _body_timer: TimerHandle | None = None
    _idle_since: float | None = None
    _underway: RequestResponseCycle | None = None
    """The request that the application has, if its connection has had several."""
    _cycle_before: RequestResponseCycle | None = None
    """The request before the last one of a pipeline."""
    _next_due = False
    """Whether the first request of the pipeline may begin, once the responses before it have been sent."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._clean = copy_context()
        self.digests: dict[bytes, bytes] = {}
        """What Cycle.digest returned for the last Authorization field, by that field; empty if there was none."""
        self._outgoing = outgoing_of(server_state)
        self._unwritten = self._outgoing.waiting

    @abstractmethod
    def _head_late(self) -> None:
        """The first bytes, or the rest of a head, did not come within `head_seconds`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection its time to send a first byte."""
        super().connection_made(transport)
        self.client = unmapped(self.client)
        transport.set_write_buffer_limits(HIGH_WATER)
        self._head_timer = self._later(self.head_seconds, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind that would keep the connection's objects alive, and no reference to its last request,
        which has one to the connection: both would wait for the garbage collector."""
        self._stop_head_timer()
        self._stop_body_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._outgoing.leave(self)
        self.pipeline.clear()
        self.digests.clear()
        if self._underway is not None and not self._underway.response_complete:
            self._underway.disconnected = True
            self._underway.message_event.set()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.cycle = self.scope = self._underway = self._cycle_before = None  # type: ignore[assignment]

    def _later(self, seconds: float, call: Callable[..., object], *arguments: object) -> TimerHandle:
        return self.loop.call_later(seconds, call, *arguments, context=self._clean)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to, and has a limited time to begin again."""
        super().pause_writing()
        self._outgoing.watch(self, self.loop)

    def resume_writing(self) -> None:
        """The client has read what was sent."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._outgoing.leave(self)
            self._begin_next()

    def eof_received(self) -> None:
        """The client sends no more, so the event loop closes the connection when all has been sent."""
        self._watch_closing()

    @abstractmethod
    def _begin_next(self) -> None:
        """Begin the next request of the pipeline if it is due."""

    def close(self) -> None:
        """Close when all has been sent. A client that reads nothing cannot delay it for long."""
        self.transport.close()
        self._watch_closing()

    def _watch_closing(self) -> None:
        if unsent(self.transport):
            self._outgoing.watch(self, self.loop)

    def shutdown(self) -> None:
        """Close when the pending responses have been sent. A connection that was just accepted may have its first
        request on the way. That request is awaited, since no client tries again after a reset of a new connection."""
        self._stopping = True
        self._keeps_alive = False
        self._write_now()
        if self.cycle is None and self._linger_timer is None and not self.transport.is_closing():
            self._linger_timer = self._later(self.linger_seconds, self._close_unused)
        else:
            super().shutdown()
            self._watch_closing()

    def drain(self, patience: float) -> None:
        """Close with the next response, or when nothing has come for `patience` seconds. So a proxy that uses an idle
        connection at this moment is still served. Its own idle time has to be shorter. A client that reads nothing for
        as long does not delay the stop."""
        self.write_seconds = min(self.write_seconds, max(patience, self.linger_seconds))
        if self._stopping or self._linger_timer is not None:
            return
        if not patience:
            self.shutdown()
            return
        self._stopping = True
        self._keeps_alive = False
        if self.cycle is not None:
            self.cycle.keep_alive = False
        self._linger_timer = self._later(patience, self._close_unused)

    def _close_unused(self) -> None:
        self._write_now()
        if self._phase == BETWEEN and not self._responses_due():
            self.close()

    def _idle_too_long(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        self._write_now()
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self.timeout_keep_alive_task = self._later(rest, self._idle_too_long)
        else:
            self.close()

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
        self._linger_timer = self._later(self.linger_seconds, self.close)

    def write_soon(self, data: bytes) -> None:
        """Write a response: at once if no other request is under way, otherwise after the requests that can continue
        now have done so. A system call between two requests evicts their shared code from the processor's caches.
        Many writes in a row, after many requests in a row, took a quarter off the time of each."""
        if len(self.tasks) < 2:
            self.transport.write(data)
            return
        if not self._unwritten:
            self.loop.call_soon(self._write_now, context=self._clean)
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
