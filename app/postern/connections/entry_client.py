"""The HTTP client that authors get for an entry. Each run gets one of its own: what a run sets in it is in force for
that run only. The transport and the sign-in are shared. Requests by a gateway are noted on their run."""

import asyncio
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self

import structlog

from postern.connections.auth.sign_in import WITHOUT
from postern.connections.entry_transport import DEADLINE, WAITING, WHOLE, EntryTransport
from postern.connections.faults import ConnectionFault
from postern.connections.request_body import RENEWED, keep
from postern.connections.response_body import NoCredential, no_credential, no_place, too_late
from postern.home_loop import HomeLoop
from postern.http_client import (
    URL,
    USER_AGENT,
    AsyncClient,
    Auth,
    ByteStream,
    PoolTimeout,
    ReadTimeout,
    Request,
    Response,
    Timeout,
)

if TYPE_CHECKING:
    from postern.connections.noted_requests import Noting

CONNECT_SECONDS = 10.0

OWN_LIMIT = "postern.own-limit"
"""The request extension of a request to a token endpoint whose sender limits its time: it must not be lost by a stop of
the whole process, which an ordinary timeout counts as time."""
LONGEST_SECONDS = 3600.0
"""The time limit of such a request here. A stop that is longer loses it."""
_STREAMED = (
    "the credential was renewed, but a stream can be sent only once: send the request again, or give it as bytes"
)
_OTHER_LOOP = "has a body that is streamed in another event loop than the server's (asyncio.run in a def workflow)"
_OTHER_LOOP_FIX = "Write the workflow as async def, or send and read the body as a whole"


log = structlog.get_logger("postern.connections")


class Signing(Auth):
    """The shared sign-in, as the `auth` of one client: what a run sets in it does not reach the sign-in."""

    def __init__(self, sign_in: Auth) -> None:
        self._sign_in = sign_in

    def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Sign one request. The HTTP client calls this."""
        return self._sign_in.async_auth_flow(request)


class EntryClient(AsyncClient):
    """A client of one entry. It keeps no cookies, follows no redirects unless the author requests it, and uses no proxy
    of the environment. Closing it has no effect: its connections are those of all clients."""

    def __init__(self, transport: EntryTransport, auth: Auth | None = None, home: HomeLoop | None = None) -> None:
        self._home = home or HomeLoop()
        self.noting: Noting | None = None
        self._entry = transport.entry
        self._place = transport.place
        self._seconds = transport.caps.seconds
        super().__init__(
            base_url=self._place.url.copy_with(query=None) if self._place is not None else "",
            auth=auth and Signing(auth),
            headers={"User-Agent": USER_AGENT},
            transport=transport,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
            timeout=Timeout(self._seconds, connect=min(CONNECT_SECONDS, self._seconds)),
        )

    def build_request(self, method: str, url: URL | str, **options: Any) -> Request:
        """The request for an address below the entry's own. If the entry is exact, an empty URL is the entry's address.
        Raises ConnectionFault."""
        if self._place is not None and isinstance(url, str):
            self._place.check_text(url)
            if self._place.exact and not url:
                url = self.base_url.copy_with(raw_path=self._place.url.raw_path.partition(b"?")[0])
        request = super().build_request(method, url, **options)
        written = URL(url).query
        if written and (options.get("params") is not None or self.params):  # the library drops the address's own query
            query = request.url.query
            request.url = request.url.copy_with(query=written + b"&" + query if query else written)
        if options.get("files"):
            keep(request, options["files"])
        return request

    async def send(self, request: Request, **options: Any) -> Response:
        """Send a request within the entry's timeout, signing in included. Connections and tokens belong to the server's
        event loop, so a request from another loop is sent there."""
        if self._home.is_here:
            return await self._send(request, **options)
        if options.get("stream") or not isinstance(request.stream, ByteStream):
            raise ConnectionFault(self._entry, _OTHER_LOOP, _OTHER_LOOP_FIX)
        return await self._home.run(self._send(request, **options))

    async def _send(self, request: Request, **options: Any) -> Response:
        if self.noting is None:
            return await self._within_limit(request, **options)
        request.extensions = dict(request.extensions)
        call = self.noting.begins(request)
        try:
            response = await self._within_limit(request, **options)
        except BaseException as error:
            self.noting.ends(request, call, error)
            raise
        self.noting.ends(request, call, response)
        return response

    async def _within_limit(self, request: Request, **options: Any) -> Response:
        own_limit = self._place is None and OWN_LIMIT in request.extensions
        deadline = asyncio.get_running_loop().time() + (LONGEST_SECONDS if own_limit else self._seconds)
        request.extensions = {**request.extensions, DEADLINE: deadline, WHOLE: not options.get("stream")}
        timeout = asyncio.timeout_at(deadline)
        try:
            async with timeout:
                response = await super().send(request, **options)
        except TimeoutError:
            if timeout.expired():
                if request.extensions.get(WAITING):
                    raise PoolTimeout(no_place(self._entry), request=request) from None
                if request.extensions.get(WITHOUT):
                    raise NoCredential(no_credential(self._entry), request=request) from None
                raise ReadTimeout(too_late(self._entry), request=request) from None
            raise
        finally:
            del timeout  # it has the task, whose error has this frame
        if request.extensions.get(RENEWED):
            log.warning("call-not-repeated", entry=self._entry, fix=_STREAMED)
        return response

    async def aclose(self) -> None:
        """Do nothing: other clients use the connections."""

    async def __aenter__(self) -> Self:
        """The client itself, even if it is in use already."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: other clients use the connections."""
