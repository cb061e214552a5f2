"""The transport between an entry's client and the network. It checks where requests go, signs them, and limits their
responses. All entries share one connection pool."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLError
from typing import Any

from postern.connections.allowed_urls import AllowedUrls, check_form, secure
from postern.connections.auth.sign_in import SIGN, signed
from postern.connections.by_gateway import by
from postern.connections.content_coding import coding_of
from postern.connections.faults import ConnectionFault
from postern.connections.places import CONNECTION, Places
from postern.connections.response import Answer
from postern.connections.response_body import Body, worded
from postern.connections.retry_transport import PASSING, Retries, repeatable
from postern.http_client import BY, ENTRY, AsyncBaseTransport, Headers, Request, Response, TransportError
from postern.telemetry.spans import CURRENT, span
from postern.trace import RUN, Trace, traceparent
from postern.tunnels import one_agent_wait

DEADLINE = "postern.deadline"
"""The request extension with the deadline of the whole call, redirects and retries included."""

LEVEL = "postern.level"
"""The request extension with the level of a call (`places.py`)."""

WHOLE = "postern.whole"
"""The request extension of a request whose response is read as a whole, and not streamed."""

WAITING = "postern.waiting"
"""The request extension of a request that waits for a place."""

_OF_THE_CODING = (b"content-encoding", b"content-length")


@dataclass(frozen=True)
class Caps:
    """The limits of one call: `seconds` in total, and the bytes of a reply's body."""

    seconds: float = 100.0
    response_bytes: int = 16 * 1024 * 1024


@dataclass(eq=False, frozen=True, slots=True)
class EntryTransport(AsyncBaseTransport):
    """The transport of one entry, for its EntryClients. `place` is None for token requests, whose address comes from
    the entry's own settings. Closing it leaves the pool open.

    Raises ConnectionFault for a request that is not allowed, and the HTTP client's errors.
    """

    entry: str
    place: AllowedUrls | None
    pool: AsyncBaseTransport
    caps: Caps = Caps()
    retries: Retries = field(default_factory=Retries)
    places: Places = field(default_factory=Places)
    level: int = CONNECTION

    async def handle_async_request(self, request: Request) -> Response:
        """Send one request, with retries if they are safe and worthwhile. The HTTP client calls this for each hop."""
        self._check(request)
        with one_agent_wait():
            return await self.retries.call(self._attempt, request, self.entry, self._deadline(request))

    def _check(self, request: Request) -> None:
        if self.place is not None:
            self.place.check(request)
            return
        check_form(request, self.entry)
        if not secure(request.url) or request.url.userinfo:
            raise ConnectionFault(self.entry, "is plain http, or has a user name in it", "Write https://host/path")

    async def _attempt(self, request: Request) -> Response:
        with span(request.method, "client") as going:
            going.set("http.request.method", request.method)
            going.set("server.address", request.url.host)
            going.set("postern.entry", self.entry)
            response = await self._sent(request)
            going.set("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                going.error = str(response.status_code)
            return response

    async def _sent(self, request: Request) -> Response:
        copy = self._sealed(request)
        who = await self._take(request)
        try:
            response, body = await self._send(copy, self._deadline(request), who)
            if request.extensions.get(WHOLE) and response.status_code not in PASSING and repeatable(request):
                await body.load()  # a body that breaks off is a failed attempt too
        except (TransportError, SSLError) as error:
            _note(request, by(error))
            raise worded(error, self.entry, request) from None
        _note(request, response.extensions.get(BY))
        return response

    async def _take(self, request: Request) -> str:
        """Wait for a place. Returns who holds it. Raises TooManyCalls."""
        run = RUN.get()
        request.extensions[WAITING] = True
        level = request.extensions.get(LEVEL, self.level)
        who = await self.places.take(self.entry, level, run[0] if run else "")
        del request.extensions[WAITING]
        return who

    async def _send(self, copy: Request, deadline: float, who: str) -> tuple[Response, Body]:
        """Send it in the place that was taken. Closing the reply's body gives the place back."""
        sending = ENTRY.set(self.entry)
        try:
            found = await self.pool.handle_async_request(copy)
        except BaseException:
            self.places.give_back(self.entry, who)
            raise
        finally:
            ENTRY.reset(sending)
        headers, coding = _without_coding(found.headers)
        body = Body(
            found.stream,  # type: ignore[arg-type]  # an asynchronous transport's
            self.entry,
            most=self.caps.response_bytes,
            deadline=deadline,
            coding=coding,
            done=partial(self.places.give_back, self.entry, who),
        )
        # Not passed on: the reason phrase of the status, which errors would repeat, and the socket.
        extensions: dict[str, Any] = {"http_version": found.extensions.get("http_version", b"HTTP/1.1")}
        if BY in found.extensions:
            extensions[BY] = found.extensions[BY]
        return Answer(found.status_code, headers=headers, stream=body, extensions=extensions), body

    def _sealed(self, request: Request) -> Request:
        """A copy with the credential, without extensions that could send it elsewhere (`target`, `sni_hostname`)."""
        known: dict[str, Any] = {
            name: request.extensions[name] for name in ("timeout", SIGN) if name in request.extensions
        }
        bare = Request(request.method, request.url, headers=request.headers, stream=request.stream, extensions=known)
        bare.headers["Accept-Encoding"] = "identity"  # what comes compressed all the same is unpacked within the limits
        run = RUN.get()
        if run is not None and self.place is not None:
            _pass_on_trace(bare.headers, *run)
        try:
            if self.place is not None and not self.place.is_own(request.url):
                bare.extensions.pop(SIGN, None)  # a result elsewhere
            copy = signed(bare)
            if self.place is not None:
                copy.url = self.place.completed(copy.url, request.url)
            return copy  # noqa: TRY300
        except ValueError:  # its text would repeat the value
            raise ConnectionFault(
                self.entry, "has a credential that no request can carry", "Look for characters outside of ASCII"
            ) from None

    def _deadline(self, request: Request) -> float:
        deadline: float | None = request.extensions.get(DEADLINE)
        return deadline if deadline is not None else asyncio.get_running_loop().time() + self.caps.seconds


def _note(request: Request, sent_by: tuple[str, str] | None) -> None:
    """Write down by which gateway and agent the request was sent, for the record of its run."""
    noted = request.extensions.get(BY)
    if noted is not None and sent_by is not None:
        noted.gateway, noted.agent = sent_by


def _pass_on_trace(headers: Headers, run_id: str, trace: Trace | None) -> None:
    """Name the run's trace, unless the author named another one. The parent is the span of this request, if its trace
    is recorded, else the run."""
    own, at = traceparent(run_id, trace), CURRENT.get()
    if headers.get("traceparent", own) != own:
        return
    headers["traceparent"] = own if at is None else at.traceparent
    if trace is not None and trace.state and "tracestate" not in headers:
        headers["tracestate"] = trace.state


def _without_coding(headers: Headers) -> tuple[Headers, str]:
    """The headers of a reply as its reader gets it, and its content coding, which the body takes off."""
    written = headers.get("Content-Encoding")
    if written is None:
        return headers, ""
    kept = [(name, value) for name, value in headers.raw if name.lower() not in _OF_THE_CODING]
    return Headers(kept), coding_of(written)
