"""The guard at the wire: HTTP that two readers could read differently, or that never ends, does not reach the app.

It is uvicorn's httptools protocol with stricter framing (RFC 9112), limits on what arrives before a body, and bounds on
how long a connection may hang. What it refuses is answered once with a problem document, the operator is told, and the
connection is closed. uvicorn's pipelining, keep-alive and flow control stay as they are.
"""

import asyncio
from asyncio import TimerHandle
from typing import Any, ClassVar, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.ids import new_id
from app.triggers.cycle import EXCHANGE, Cycle, LingeringTransport
from app.triggers.framing import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, check_head, check_size, why
from app.triggers.notice import notice, refusal
from app.triggers.transport import unmapped
from app.triggers.upgrade import body_parser

MAX_CHUNK_OVERHEAD = 16 * 1024
"""Bytes of chunk extensions and trailers that may arrive ahead of the body they belong to."""
CHUNK_OVERHEAD_RATIO = 16
"""Each byte of body allows as many bytes of chunk framing; a client that sends chunks of one byte needs 5."""

_BETWEEN, _HEAD, _BODY = range(3)
"""Where in the stream of requests the parser stands: between two of them, in a head, or in a body and its trailers."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Times are in seconds; subclasses may set them.

    What every request passes through calls uvicorn's methods by the class's name, which costs less than super().
    """

    head_seconds = 10.0
    body_seconds = 30.0
    linger_seconds = 1.0
    linger_bytes = 64 * 1024

    _phase = _BETWEEN
    _cycle_before: RequestResponseCycle
    _framing = b""
    _received = 0
    _head_bytes = 0
    _head_timed = False
    _head_timer: TimerHandle | None = None
    _chunk_overhead = 0
    _keeps_alive = True
    _stopping = False
    _refusal = ""
    _request_id = ""
    _discarding = False
    _discarded = 0
    _linger_timer: TimerHandle | None = None
    _body_timer: TimerHandle | None = None
    _idle_since: float | None = None
    _unwritten: ClassVar[list[tuple[asyncio.Transport, bytes]]] = []
    """Answers of all connections that wait to be written, in order. There is one event loop in a process."""

    # The connection

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
        """Close when the answers that are due have been sent. A connection that was accepted a moment ago may have its
        first request on the way: it is waited for, since no client tries again after a reset of a new connection."""
        self._stopping = True
        self._keeps_alive = False
        self._write_now()
        if self.cycle is None and self._linger_timer is None and not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(self.linger_seconds, self._close_unused)
        else:
            super().shutdown()

    def drain(self, patience: float) -> None:
        """Close with the next answer, or when nothing has come for `patience` seconds: a proxy that uses an idle
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
        if self._phase == _BETWEEN and not self._answers_due():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, then look at what is still incomplete: usually nothing is."""
        if self._discarding or self._refusal:
            self._discard(len(data))
            return
        self._idle_since = None
        phase, scope = self._phase, self.scope
        body_bytes = len(self.cycle.body) if phase == _BODY else 0
        self._received = len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._feed_after_upgrade(data, upgrade)
        except httptools.HttpParserError as error:
            self._refuse(*why(error))
            return
        if self._phase == _BODY:
            self._hold()
            if phase == _BODY and self.scope is scope:
                self._count_overhead(len(data), len(self.cycle.body) - body_bytes)
        elif self._phase == _HEAD:
            self._head_incomplete(len(data) if self.scope is scope else 0)
        elif phase == _BETWEEN and self.scope is scope:
            self._head_incomplete(len(data))

    def _feed_after_upgrade(self, data: bytes, upgrade: httptools.HttpParserUpgrade | None) -> None:
        """Nothing is upgraded here. The parser stops after such a head and leaves what follows to the other protocol:
        have it read as the body that it is, or else as the next request."""
        while upgrade is not None:
            data = data[upgrade.args[0] :]
            if self._phase == _BODY:
                self.parser = body_parser(self, self._framing)
            upgrade = None
            if data:
                try:
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as another:
                    upgrade = another

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A new head."""
        HttpToolsProtocol.on_message_begin(self)
        self._phase = _HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header without white space around its value."""
        self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        """Hand the request to the app unless its head is unacceptable."""
        if self._head_timed or self._received > MAX_HEADER_BYTES:
            check_size(self.headers)  # not of a head that came whole in fewer bytes: the usual case
        if self._head_timer is not None:
            self._stop_head_timer()
        self._head_bytes = 0
        version = self.parser.get_http_version()
        self._framing, self.expect_100_continue, fields = check_head(self.url, version, self.headers)
        self._begin(version, fields)
        self._phase = _BODY
        # What comes now are trailers: they must not join the headers, which the scope holds (RFC 9110, section 6.5.1).
        self.headers = []

    def _begin(self, version: str, fields: dict[bytes, bytes] | None) -> None:
        """Hand the request to the app, or put it behind those that came before on this connection. It does what
        uvicorn's own does, but for upgrades and limits that are not used here."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        before = self.cycle
        cycle = self.cycle = Cycle(self, fields, keep_alive=version == "1.1" and self.parser.should_keep_alive())
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        scope[EXCHANGE] = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
            self._cycle_before = before
        if self._stopping:
            cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Have a task answer. It says itself when it is done: a callback would be one more turn of the event loop."""
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        cast("Cycle", cycle).task = task

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body for who reads it."""
        cycle = cast("Cycle", self.cycle)
        if not cycle.response_complete:
            cycle.append(body)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.set()

    def on_message_complete(self) -> None:
        """The whole request is here, so that the connection can serve another."""
        if self._framing and self.parser.should_upgrade():
            return  # its body is still to come: see _feed_after_upgrade
        self._phase = _BETWEEN
        cycle = cast("Cycle", self.cycle)
        if cycle.transport is not self.transport:
            self._stop_body_timer()
            cycle.transport = self.transport
            if not cycle.response_started:
                cycle.keep_alive = self._keeps_alive
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.set()

    def _should_upgrade(self) -> bool:
        return False

    # Heads and bodies that are still arriving

    def _head_incomplete(self, size: int) -> None:
        self._head_bytes += size
        if self._phase == _HEAD and len(self.url) > MAX_TARGET_BYTES:
            self._refuse("uri-too-long", "request target")
        elif self._head_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES or (
            self._phase == _HEAD and len(self.headers) > MAX_HEADERS
        ):
            self._refuse("headers-too-large", "incomplete head")
        elif self._phase == _HEAD:
            if not self._head_timed:
                self._stop_head_timer()
                self._head_timed = True
                self._head_timer = self.loop.call_later(self.head_seconds, self._head_late)
        elif self._head_timer is None and not self._answers_due():
            # Empty lines between two requests, which end the keep-alive timer.
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._phase != _HEAD:
            self.transport.close()
        elif self.flow.read_paused:
            # It may have been sent, but it is not being read while an earlier request is served.
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_late)
        else:
            self._refuse("request-timeout", "head arrived too slowly")

    def _stop_head_timer(self) -> None:
        self._head_timed = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _count_overhead(self, received: int, body: int) -> None:
        """Bound what surrounds a body: its growth pays for chunk framing, the rest must fit a small allowance."""
        self._chunk_overhead = max(0, self._chunk_overhead + received - (1 + CHUNK_OVERHEAD_RATIO) * body)
        if self._chunk_overhead > MAX_CHUNK_OVERHEAD:
            self._refuse("bad-request", "chunk extensions or trailers")

    def _hold(self) -> None:
        """Until the body is complete, an answer says `Connection: close`, and closing waits a moment for the client."""
        cycle = self.cycle
        if cycle.transport is self.transport:
            self._chunk_overhead = 0
            self._keeps_alive = cycle.keep_alive
            cycle.keep_alive = False
            cycle.transport = LingeringTransport(self)
            self._body_timer = self.loop.call_later(self.body_seconds, self._body_late, cycle)

    def _body_late(self, cycle: RequestResponseCycle) -> None:
        self._body_timer = None
        if self._phase != _BODY or self.cycle is not cycle or cycle.response_started or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it may have been sent, but the app is not taking it yet
            self._body_timer = self.loop.call_later(self.body_seconds, self._body_late, cycle)
        else:
            self._refuse("request-timeout", "body arrived too slowly")

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    # Answers

    def write_soon(self, data: bytes) -> None:
        """Write an answer: at once where no other request is under way, else when those that can go on now have done
        so. A system call between two requests makes the processor forget the code that both of them run; many writes
        in a row, after many requests in a row, took a quarter off the time of each."""
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

    def on_response_complete(self) -> None:
        """Go on with the next request, or with a refusal that had to wait for its turn.

        uvicorn sets a timer after each answer and cancels it at the next request, which costs more than the guard:
        here one timer for each connection looks now and then how long it has been idle."""
        self.server_state.total_requests += 1
        if self._discarding:
            return
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                cycle, app = self.pipeline.pop()
                self._start_asgi_task(cycle, app)
            else:
                self._idle_since = self.loop.time()
                if self.timeout_keep_alive_task is None:
                    self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._idle_too_long)
        if self._refusal and not self._answers_due():
            self._answer_refusal()

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

    def _answers_due(self) -> bool:
        last = self.cycle
        return bool(self.pipeline) or not (last is None or last.response_complete or last.disconnected)

    def _refuse(self, code: str, reason: str) -> None:
        self._write_now()  # in order: what is refused comes after what was answered
        self._refusal = code
        self._request_id = new_id()
        self._stop_head_timer()
        notice(self.app_state, self._request_id, code, reason, self.client)
        cycle = self.cycle
        if self._phase == _BODY:
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()  # the app has not seen it yet
                self.cycle = self._cycle_before
            else:
                cycle.disconnected = True
                cycle.message_event.set()
                if cycle.response_started:
                    self.linger()
                    return
        if self._answers_due():
            self.flow.pause_reading()
        else:
            self._answer_refusal()

    def _answer_refusal(self) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.transport.write(refusal(self._refusal, self._request_id, self.server_state.default_headers))
        self.linger()

    def linger(self) -> None:
        """Close in a moment. What still arrives until then is read and dropped: closing a socket that has unread bytes
        resets the connection, and the client might never see the answer (RFC 9112, section 9.6)."""
        if self._discarding or self.transport.is_closing():
            return
        self._discarding = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._linger_timer = self.loop.call_later(self.linger_seconds, self.transport.close)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarding and self._discarded > self.linger_bytes:
            self.transport.close()
