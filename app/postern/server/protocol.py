"""The server's protocol: ambiguous HTTP, and requests that never end, do not reach the application.

It is uvicorn's httptools protocol with stricter framing (RFC 9112), limits on what arrives before a body, and limits on
how long a connection may hang. A rejected request gets one problem document, is reported to the operator, and its
connection is closed. uvicorn's pipelining, keep-alive and flow control stay as they are. Nothing is upgraded but links
of gateways.
"""

from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application, ASGIVersions
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from postern.ids import new_id
from postern.server.connection import BETWEEN, BODY, HEAD, ClientConnection
from postern.server.cycle import Cycle, LingeringTransport
from postern.server.forwarded import PROTO, unify
from postern.server.framing import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, check_head, check_size, why
from postern.server.link_head import PREFIX as LINKS
from postern.server.link_head import wants_link
from postern.server.rejection import notice, response_to
from postern.server.upgrade import body_parser

MAX_CHUNK_OVERHEAD = 16 * 1024
"""Bytes of chunk extensions and trailers that may arrive ahead of the body they belong to."""
ASGI: ASGIVersions = {"version": "3.0", "spec_version": "2.3"}
"""What the scope of each request says of ASGI. No application changes it."""

CHUNK_OVERHEAD_RATIO = 16
"""Each byte of body allows as many bytes of chunk framing; a client that sends chunks of one byte needs 5."""

LINK = b"link"
"""In place of a body's framing: what follows the head is another protocol."""


class GuardedProtocol(ClientConnection):
    """One connection. Times are in seconds; subclasses may set them.

    Methods on the path of every request call uvicorn's methods by the class's name, which costs less than super().
    """

    body_seconds = 30.0

    _framing = b""
    _received = 0
    _head_bytes = 0
    _chunk_overhead = 0
    _refusal = ""
    _request_id = ""
    _discarded = 0

    # The parser

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, then check what is still incomplete: usually nothing."""
        if self._discarding or self._refusal:
            self._discard(len(data))
            return
        self._idle_since = None
        phase, scope = self._phase, self.scope
        body_bytes = len(self.cycle.body) if phase == BODY else 0
        self._received = len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._feed_after_upgrade(data, upgrade)
        except httptools.HttpParserError as error:
            self._reject(*why(error))
            return
        if self._phase == BODY:
            self._hold()
            if phase == BODY and self.scope is scope:
                self._count_overhead(len(data), len(self.cycle.body) - body_bytes)
        elif self._phase == HEAD:
            self._head_incomplete(len(data) if self.scope is scope else 0)
        elif phase == BETWEEN and self.scope is scope:
            self._head_incomplete(len(data))

    def _feed_after_upgrade(self, data: bytes, upgrade: httptools.HttpParserUpgrade | None) -> None:
        """The parser stops after such a head and leaves the rest to the other protocol. A link begins here. Nothing
        else is upgraded: read the rest as the request's body, or as the next request."""
        if self._framing is LINK and upgrade is not None:
            self._phase = BETWEEN
            self._become_link(data[upgrade.args[0] :])
            return
        while upgrade is not None:
            data = data[upgrade.args[0] :]
            if self._phase == BODY:
                self.parser = body_parser(self, self._framing)
            upgrade = None
            if data:
                try:
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as another:
                    upgrade = another

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A new head. It does what uvicorn's own does."""
        self._phase = HEAD
        self.url = b""
        headers: list[tuple[bytes, bytes]] = []
        self.headers = headers
        self.scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item]
            "root_path": self.root_path,
            "headers": headers,
            "state": self.app_state.copy(),
        }

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
        if fields is None or PROTO in fields:
            unify(self.headers, fields)
        if self.url.startswith(LINKS) and not self._framing and self._may_link(version):
            self._framing = LINK
            return
        self._begin(version, fields)
        self._phase = BODY
        # What comes now are trailers: they must not join the headers, which the scope holds (RFC 9110, section 6.5.1).
        self.headers = []

    def _begin(self, version: str, fields: dict[bytes, bytes] | None) -> None:
        """Hand the request to the app, or queue it behind earlier ones on this connection. It does what uvicorn's own
        does, without the upgrades and limits that are not used here."""
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
        if before is None or (before.response_complete and not self.flow.write_paused):
            self._start_asgi_task(cycle, self.app)
        else:
            self._queue(cycle, before)
        if self._stopping:
            cycle.keep_alive = False

    def _queue(self, cycle: Cycle, before: RequestResponseCycle) -> None:
        """Let a request wait until those before it have their responses, and the client has read them."""
        self.flow.pause_reading()
        if not self.pipeline:
            self._underway = before
            self._next_due = before.response_complete
            self.transport.set_write_buffer_limits(0)  # from now on all must be sent, or writing is paused
        self.pipeline.appendleft((cycle, self.app))
        self._cycle_before = before

    def _begin_next(self) -> None:
        """Begin the next request of the pipeline if the one before it is over and its response has been sent. So a
        client that does not read has one response in memory, however many requests it sends."""
        if self._next_due and self.pipeline and not self.flow.write_paused and not self.transport.is_closing():
            self._next_due = False
            cycle, app = self.pipeline.pop()
            self._underway = cycle
            self._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _start_asgi_task(self, cycle: Cycle, app: ASGI3Application) -> None:  # type: ignore[override]
        """Respond in a context of its own: what a request sets there must not reach the next."""
        cycle.begin(app, self._clean.copy())

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body until it is read."""
        cycle: Cycle = self.cycle  # type: ignore[assignment]
        if not cycle.response_complete:
            cycle.append(body)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.set()

    def on_message_complete(self) -> None:
        """The whole request has arrived, so the connection can serve another."""
        if self._framing and self.parser.should_upgrade():
            return  # its body is still to come: see _feed_after_upgrade
        self._phase = BETWEEN
        cycle: Cycle = self.cycle  # type: ignore[assignment]
        if cycle.transport is not self.transport:
            self._stop_body_timer()
            cycle.transport = self.transport
            if not cycle.response_started:
                cycle.keep_alive = self._keeps_alive
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.set()

    def _should_upgrade(self) -> bool:
        return self._framing is LINK

    def _may_link(self, version: str) -> bool:
        """Whether this request is for a link, and the only one on its connection now. The application says in the
        lifespan's state whether it takes links."""
        free = not (self._responses_due() or self._stopping) and self.parser.should_upgrade()
        return (
            free
            and bool(self.app_state.get("links"))
            and wants_link(self.parser.get_method(), version, self.url, self.headers)
        )

    def _become_link(self, rest: bytes) -> None:
        """Hand the connection over. A client waits for the response before it sends more (RFC 6455, section 4.1)."""
        if rest:
            self._framing = b""
            self._reject("bad-request", "bytes after the handshake of a link")
            return
        from postern.server.link_protocol import LinkProtocol

        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._outgoing.leave(self)
        self.scope["method"] = "GET"
        self.ws_protocol_class = LinkProtocol
        self._clean.copy().run(self.handle_websocket_upgrade)

    # Heads and bodies that are still arriving

    def _head_incomplete(self, size: int) -> None:
        self._head_bytes += size
        if self._phase == HEAD and len(self.url) > MAX_TARGET_BYTES:
            self._reject("uri-too-long", "request target")
        elif self._head_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES or (
            self._phase == HEAD and len(self.headers) > MAX_HEADERS
        ):
            self._reject("headers-too-large", "incomplete head")
        elif self._phase == HEAD:
            if not self._head_timed:
                self._stop_head_timer()
                self._head_timed = True
                self._head_timer = self._later(self.head_seconds, self._head_late)
        elif self._head_timer is None and not self._responses_due():
            # Empty lines between two requests, which end the keep-alive timer.
            self._head_timer = self._later(self.head_seconds, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._phase != HEAD:
            self.close()
        elif self.flow.read_paused:
            # It may have been sent, but it is not being read while an earlier request is served.
            self._head_timer = self._later(self.head_seconds, self._head_late)
        else:
            self._reject("request-timeout", "head arrived too slowly")

    def _count_overhead(self, received: int, body: int) -> None:
        """Limit the bytes around a body: its own bytes allow as many of chunk framing, the rest has a small limit."""
        self._chunk_overhead = max(0, self._chunk_overhead + received - (1 + CHUNK_OVERHEAD_RATIO) * body)
        if self._chunk_overhead > MAX_CHUNK_OVERHEAD:
            self._reject("bad-request", "chunk extensions or trailers")

    def _hold(self) -> None:
        """Until the body is complete, a response has `Connection: close`, and closing waits a moment for the client."""
        cycle = self.cycle
        if cycle.transport is self.transport:
            self._chunk_overhead = 0
            self._keeps_alive = cycle.keep_alive
            cycle.keep_alive = False
            cycle.transport = LingeringTransport(self)
            self._body_timer = self._later(self.body_seconds, self._body_late, cycle)

    def _body_late(self, cycle: RequestResponseCycle) -> None:
        self._body_timer = None
        if self._phase != BODY or self.cycle is not cycle or cycle.response_started or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it may have been sent, but the app is not taking it yet
            self._body_timer = self._later(self.body_seconds, self._body_late, cycle)
        else:
            self._reject("request-timeout", "body arrived too slowly")

    # Responses

    def on_response_complete(self) -> None:
        """Continue with the next request, or with a rejection that had to wait for its turn.

        uvicorn sets a timer after each response and cancels it at the next request, which costs more than all checks
        here. Instead, one timer for each connection checks now and then how long it has been idle."""
        self.server_state.total_requests += 1
        if self._discarding:
            return
        if self.transport.is_closing():
            self._watch_closing()
        elif self.pipeline:
            self._next_due = True
            self.loop.call_soon(self._begin_next, context=self._clean)  # when the response has been written
        else:
            self.flow.resume_reading()
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self._later(self.timeout_keep_alive, self._idle_too_long)
        if self._refusal and not self._responses_due():
            self._send_rejection()

    def _reject(self, code: str, reason: str) -> None:
        self._write_now()  # in order: the rejection follows the responses before it
        self._refusal = code
        self._request_id = new_id()
        self._stop_head_timer()
        notice(self.app_state, self._request_id, code, reason, self.client)
        cycle = self.cycle
        if self._phase == BODY:
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()  # the app has not seen it yet
                self.cycle = self._cycle_before  # type: ignore[assignment]
            else:
                cycle.disconnected = True
                cycle.message_event.set()
                if cycle.response_started:
                    self.linger()
                    return
        if self._responses_due():
            self.flow.pause_reading()
        else:
            self._send_rejection()

    def _send_rejection(self) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.transport.write(response_to(self._refusal, self._request_id, self.server_state.default_headers))
        self.linger()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarding and self._discarded > self.linger_bytes:
            self.close()
