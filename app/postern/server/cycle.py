"""One request and its response on the wire, with shortcuts for requests and responses in one piece."""

import asyncio
import sys
from contextvars import Context
from typing import TYPE_CHECKING, Any

import structlog
from starlette.requests import ClientDisconnect
from uvicorn._types import ASGI3Application, ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from postern.identity.bearer import digest_of_field
from postern.logs import Coalesced
from postern.triggers.exchange import EXCHANGE

if TYPE_CHECKING:
    from postern.server.connection import ClientConnection

RawHeaders = list[tuple[bytes, bytes]]

log = structlog.get_logger("postern.http")

_abandoned = Coalesced("request-abandoned")

_LINE_END = b"\r\n"


class _Rendered:
    """The headers that every response begins with. uvicorn makes a new list when the date changes."""

    headers: RawHeaders | None = None
    lines = b""


class Cycle(RequestResponseCycle):
    """One request and its response. Values that all requests share are set on the class. The event that wakes a reader
    of the body is a flag until there is one: uvicorn's own event costs several times as much to make.

    `fields` has the headers by name, or None if a name occurs more than once.
    """

    disconnected = False
    waiting_for_100_continue = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    access_log = False
    body: bytes | bytearray = b""  # type: ignore[assignment]
    task: asyncio.Task[None] | None = None
    _came = False
    _taken = False
    _waiter: asyncio.Event | None = None

    def __init__(self, protocol: "ClientConnection", fields: dict[bytes, bytes] | None, *, keep_alive: bool) -> None:
        self.protocol = protocol
        self.fields = fields
        self.scope = protocol.scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self.keep_alive = keep_alive
        if protocol.digests and (fields is None or fields.get(b"authorization") not in protocol.digests):
            protocol.digests.clear()  # a token is in memory until the connection's next request, and no longer
        if protocol.expect_100_continue:
            self.waiting_for_100_continue = True

    def begin(self, app: ASGI3Application, context: Context) -> None:
        """Start the task that responds. It reports itself when it is done: a callback would be one more turn of the
        event loop. Only while it runs, the scope leads to this object: a circle would wait for the garbage collector,
        with its connection and body."""
        self.scope[EXCHANGE] = self  # type: ignore[literal-required]
        protocol = self.protocol
        self.task = protocol.loop.create_task(self.run_asgi(app), context=context)
        protocol.tasks.add(self.task)

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Have the application respond. An incomplete response is a server error, unless the client has gone: clients
        can go as often as they like, so that costs one line for many, without a traceback."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                self.logger.error("the application did not complete its response")
                await self._give_up()
        except GeneratorExit:  # of a future: Python has closed the application, which has responded before
            if not self.response_complete:
                await self._give_up()
        except BaseException as error:
            if self.disconnected or isinstance(error, ClientDisconnect | asyncio.CancelledError):
                client = self.scope["client"]
                _abandoned.add(log.info, client_address=client[0] if client else "", error=type(error).__name__)
            else:
                self.logger.exception("Exception in ASGI application\n")
            await self._give_up()
        finally:
            self.on_response = _nothing
            self.scope.pop(EXCHANGE, None)  # type: ignore[misc]
            if self.task is not None:
                self.protocol.tasks.discard(self.task)
                self.task = None

    async def _give_up(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    def digest(self, authorization: bytes) -> bytes:
        """For the Exchange. Most requests of a connection have the same field, and a lookup by Python's hash, which is
        keyed, takes a fourth of the time of SHA-256. It compares nothing unless all 64 bits of the hashes are equal, so
        its time says nothing of a token that another client has sent through the same proxy."""
        digests = self.protocol.digests
        if (digest := digests.get(authorization)) is None:
            digest = digests[authorization] = digest_of_field(authorization)
        return digest

    def whole_body(self) -> bytes | None:
        """The body, if it has arrived whole and was not taken yet."""
        if self.more_body or self._taken or self.disconnected or self.response_complete:
            return None
        self._taken = True
        self._came = False
        body, self.body = self.body, b""
        return bytes(body)

    def answer_at_once(self, status: int, lines: bytes, content: bytes) -> bool:
        """Send a whole response to a request that has arrived whole. Returns False if it must be sent the usual way
        (two ASGI messages). The lines of its header fields are the server's own or were checked when the author made
        them, so they are not searched for line breaks again."""
        protocol = self.protocol
        if (
            self.transport is not protocol.transport
            or not self.keep_alive
            or self.response_started
            or self.disconnected
            or self.waiting_for_100_continue
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
        ):
            return False
        if _Rendered.headers is not self.default_headers:
            _Rendered.headers = self.default_headers
            _Rendered.lines = b"".join([b"%b: %b\r\n" % header for header in self.default_headers])
        self.response_started = self.response_complete = True
        self._came = True
        protocol.write_soon(b"".join((STATUS_LINE[status], _Rendered.lines, lines, _LINE_END, content)))
        protocol.on_response_complete()
        return True

    def unframed(self) -> None:
        """The response, of HTTP/1.0, has no length and no chunks: it ends with the connection, by `cut_off`."""
        self.keep_alive = self.chunked_encoding = False
        self.expected_content_length = sys.maxsize

    def cut_off(self) -> None:
        """Close the connection in the middle of a response. Without its last chunk, or with less than its
        Content-Length, a client sees that it was cut (RFC 9112, section 8)."""
        if not self.response_complete:
            self.disconnected = True
            self.protocol.close()

    async def receive(self) -> ASGIReceiveEvent:
        """The next part of the body. One that has arrived whole, as most have, is handed over without waiting."""
        body = self.whole_body()
        if body is None:
            return await super().receive()
        return {"type": "http.request", "body": body, "more_body": False}

    def append(self, body: bytes) -> None:
        """Take a part of the body. Most come in one piece, which is kept as it is."""
        if not self.body:
            self.body = body
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += body

    @property
    def message_event(self) -> "Cycle":  # type: ignore[override]
        """The event that wakes the reader of the body: this object itself."""
        return self

    def set(self) -> None:
        """Something came: a part of the body, its end, or the end of the connection."""
        self._came = True
        if self._waiter is not None:
            self._waiter.set()

    def clear(self) -> None:
        """What came has been taken."""
        self._came = False
        if self._waiter is not None:
            self._waiter.clear()

    async def wait(self) -> None:
        """Wait until something has come."""
        if not self._came:
            if self._waiter is None:
                self._waiter = asyncio.Event()
            await self._waiter.wait()


def _nothing() -> None:
    """Nothing follows the response of a request that is over."""


class LingeringTransport(asyncio.Transport):
    """The transport for the response to an incomplete request: it closes the connection after a moment."""

    def __init__(self, protocol: "ClientConnection") -> None:
        super().__init__()
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.linger()
