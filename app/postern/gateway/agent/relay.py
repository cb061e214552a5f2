"""Requests that the agent reads: where TLS of a connection ends at the agent (`tls = "gateway"`).

In such a tunnel there is HTTP/1.1 (RFC 9112). Each request is parsed, checked and written anew, so the target never
sees bytes that the agent did not understand. A tunnel has one connection to its target, and both end together: the
server's pool then sees that the tunnel is dead, and sends nothing into it.
"""

import re
from collections.abc import Callable
from contextlib import suppress

import anyio
import h11
from anyio.abc import ByteStream

from postern.gateway.agent.allowed import Denied, Target
from postern.gateway.agent.overrides import Overrides, overrides, same_name
from postern.gateway.agent.rows import Row, host_name
from postern.gateway.reasons import REASON_HEADER, Reason

HEAD_BYTES = 64 * 1024
CHUNK = 64 * 1024
FORBIDDEN = 403
END_SECONDS = 5.0
EMPTY = (204, 304)
CLOSED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        b"proxy",
    }
)
"""Fields for one connection only (RFC 9110, section 7.6.1), and the one that CGI takes for its own proxy
(CVE-2016-5385)."""
_OPTIONS = frozenset({b"close", b"keep-alive", b"te", b"upgrade"})
"""What a caller's `Connection` may name. Others could remove fields that the target relies on."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")

Check = Callable[[str, bytes], Row | Denied]
"""Decides on the method and the path of a request, by the rows of this moment."""
Note = Callable[[str, str, str, str], None]
"""Called with method, path and outcome of each request, and why it was refused, "" if it was not."""


class _TargetClosed(Exception):
    """The target takes no more of the request's body."""


class Relay:
    """Serves the requests of one tunnel, one after the other. `target` is the open connection to the target."""

    def __init__(self, tunnel: ByteStream, target: ByteStream, at: Target, check: Check, note: Note) -> None:
        self._tunnel = tunnel
        self._target = target
        self._at = at
        self._check = check
        self._note = note
        self._server = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._client = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)

    async def run(self) -> None:
        """Serve until either side ends. What breaks off at the target breaks the tunnel off, too."""
        try:
            while await self._one():
                self._server.start_next_cycle()
                self._client.start_next_cycle()
        except h11.RemoteProtocolError as error:
            denied = Denied(Reason.REQUEST_NOT_ALLOWED, "the request's framing is faulty or ambiguous")
            self._note("", "", denied.reason, denied.text)
            await self._refuse(denied, error.error_status_hint)

    async def _one(self) -> bool:
        """Serve one request. Whether another one may follow. Raises RemoteProtocolError for a faulty request."""
        request = await self._next_request()
        if request is None:
            return False
        method, path = request.method.decode("ascii"), bytes(request.target)
        shown = path.partition(b"?")[0].decode("latin-1")[:200]
        if denied := self._wrong_with(request, method, path):
            self._note(method, shown, denied.reason, denied.text)
            await self._refuse(denied, FORBIDDEN)
            return False
        status = 0
        with suppress(*CLOSED):
            await self._send_on(request)
            status = await self._exchange()
        self._note(method, shown, str(status or "broken off"), "")
        if status and not self._may_go_on():
            await self._end()
        return self._may_go_on()

    def _may_go_on(self) -> bool:
        states = {*self._server.states.values(), *self._client.states.values()}
        return states == {h11.DONE}

    # before the request is sent on

    async def _next_request(self) -> h11.Request | None:
        while (event := self._server.next_event()) is h11.NEED_DATA:
            data = await self._idle()
            if not data:
                return None
            self._server.receive_data(data)
        return event if isinstance(event, h11.Request) else None

    async def _idle(self) -> bytes:
        """What comes next in the tunnel; nothing if it ends, or if the target ends its connection before."""
        found = b""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                with suppress(*CLOSED):
                    await self._target.receive(1)  # a target says nothing before a request
                group.cancel_scope.cancel()

            group.start_soon(watch)
            with suppress(*CLOSED):
                found = await self._tunnel.receive(CHUNK)
            group.cancel_scope.cancel()
        return found

    def _wrong_with(self, request: h11.Request, method: str, path: bytes) -> Denied | None:
        more = overrides(request.headers)
        host = next(value.decode("latin-1") for name, value in request.headers if name == b"host")
        text = _ambiguous(request, more) or next(filter(None, map(self._other_host, [host, *more.hosts])), "")
        if text:
            return Denied(Reason.REQUEST_NOT_ALLOWED, text)
        decided = (self._check(each, at) for each in (method, *more.methods) for at in (path, *more.paths))
        return next((found for found in decided if isinstance(found, Denied)), None)

    def _other_host(self, value: str) -> str:
        """A Host that a target with several sites would read as another one than the row's."""
        found = _HOST.fullmatch(value)
        usual = self._at.port in (80, 443)
        if found and host_name(found[1]) == self._at.host and (int(found[2]) == self._at.port if found[2] else usual):
            return ""
        return f"its Host, or a field that replaces it, is not {self._at.address}"

    async def _send_on(self, request: h11.Request) -> None:
        fields = [(name, value) for name, value in request.headers.raw_items() if _passes(name.lower())]
        framing = [(b"Transfer-Encoding", b"chunked")] if _has(request, b"transfer-encoding") else []
        fields = [(name, value) for name, value in fields if name.lower() != b"expect"]
        await self._to_target(h11.Request(method=request.method, target=request.target, headers=fields + framing))

    # the exchange

    async def _exchange(self) -> int:
        """Send the body on and the response back, at the same time. Returns the status, 0 if there is no whole
        response. Raises RemoteProtocolError for a faulty body."""
        status, faulty = 0, None
        async with anyio.create_task_group() as group:

            async def upwards() -> None:
                nonlocal faulty
                try:
                    await self._body()
                    await self._until_gone()
                except _TargetClosed:
                    return  # it may have answered before
                except h11.RemoteProtocolError as error:
                    faulty = error
                except CLOSED:
                    pass
                group.cancel_scope.cancel()

            group.start_soon(upwards)
            with suppress(*CLOSED, h11.ProtocolError):
                status = await self._response()
            group.cancel_scope.cancel()
        if faulty is not None:
            raise faulty
        return status

    async def _body(self) -> None:
        while True:
            event = self._server.next_event()
            if event is h11.NEED_DATA:
                if self._server.they_are_waiting_for_100_continue:
                    await self._to_tunnel(h11.InformationalResponse(status_code=100, headers=[]))
                self._server.receive_data(await self._tunnel.receive(CHUNK))
                continue
            if isinstance(event, h11.EndOfMessage) and self._server.trailing_data[0]:
                raise h11.RemoteProtocolError("pipelined")
            try:
                await self._to_target(
                    h11.Data(data=bytes(event.data)) if isinstance(event, h11.Data) else h11.EndOfMessage()
                )
            except CLOSED:
                raise _TargetClosed from None
            if not isinstance(event, h11.Data):
                return

    async def _until_gone(self) -> None:
        """Notice that the tunnel ends while the target works. What comes before the response is pipelined, and ends the
        tunnel; after that it is the beginning of the next request."""
        data = await self._tunnel.receive(CHUNK)
        if self._server.our_state is h11.SEND_RESPONSE:
            raise h11.RemoteProtocolError("pipelined")
        self._server.receive_data(data)
        await anyio.sleep_forever()

    async def _response(self) -> int:
        status = 0
        while True:
            event = self._client.next_event()
            if event is h11.NEED_DATA:
                self._client.receive_data(await self._received())
            elif isinstance(event, h11.Response):
                status = event.status_code
                await self._to_tunnel(
                    h11.Response(status_code=status, headers=self._answer(event), reason=event.reason)
                )
            elif isinstance(event, h11.Data):
                await self._to_tunnel(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self._to_tunnel(h11.EndOfMessage())
                return status
            elif not isinstance(event, h11.InformationalResponse):  # it ended before its response
                raise anyio.EndOfStream

    async def _received(self) -> bytes:
        """What the target sends; nothing at its end, which ends a body without a length."""
        try:
            return await self._target.receive(CHUNK)
        except anyio.EndOfStream:
            if self._client.their_state is not h11.SEND_BODY:
                raise
            return b""

    def _answer(self, response: h11.Response) -> list[tuple[bytes, bytes]]:
        named = _named_by_connection(response)
        fields = [
            (name, value)
            for name, value in response.headers.raw_items()
            if _passes(name.lower()) and name.lower() not in named and name.lower() != REASON_HEADER.encode()
        ]
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in response.headers)
        last = b"close" in named or response.http_version < b"1.1" or not (framed or response.status_code in EMPTY)
        return [*fields, (b"Connection", b"close")] if last else fields

    async def _refuse(self, denied: Denied, status: int) -> None:
        """Answer for the target, and end the tunnel after it."""
        if self._server.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = denied.text.encode() + b"\n"
        fields = [
            (REASON_HEADER, denied.reason.value),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        with suppress(*CLOSED):
            await self._to_tunnel(h11.Response(status_code=status, headers=fields))
            await self._to_tunnel(h11.Data(data=body))
            await self._to_tunnel(h11.EndOfMessage())
        await self._end()

    async def _end(self) -> None:
        """End the tunnel after a whole response. What the server still sends is dropped, until it has read the
        response and ends, too: a tunnel that is broken off could lose the response."""
        with suppress(*CLOSED), anyio.move_on_after(END_SECONDS):
            await self._tunnel.send_eof()
            while True:
                await self._tunnel.receive(CHUNK)

    async def _to_tunnel(self, event: h11.Event) -> None:
        if data := self._server.send(event):
            await self._tunnel.send(data)

    async def _to_target(self, event: h11.Event) -> None:
        if data := self._client.send(event):
            await self._target.send(data)


def _ambiguous(request: h11.Request, more: Overrides) -> str:
    """What two programs could read as different requests (RFC 9112, section 11.2), and what is no request to a
    server."""
    if request.http_version != b"1.1":
        return "it is not HTTP/1.1"
    if _has(request, b"content-length") and _has(request, b"transfer-encoding"):
        return "it has a length, and is chunked"
    if not _named_by_connection(request) <= _OPTIONS:
        return "its Connection names other fields"
    return "a field that replaces its method, path or host names several" if more.unclear else ""


def _has(message: h11.Request, name: bytes) -> bool:
    return any(each == name for each, _ in message.headers)


def _named_by_connection(message: h11.Request | h11.Response) -> set[bytes]:
    values = [value for name, value in message.headers if name == b"connection"]
    return {token.strip().lower() for value in values for token in value.split(b",")} - {b""}


def _passes(name: bytes) -> bool:
    return same_name(name) not in _HOP_BY_HOP
