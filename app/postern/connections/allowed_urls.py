"""Which URLs the requests of one entry may use: its own origin, at or below its base path. All functions are pure."""

import re
from dataclasses import dataclass, field

from postern.connections.faults import ConnectionFault
from postern.dot_segments import climbs
from postern.http_client import URL, Request
from postern.loopback import is_loopback

POLL = "postern.poll"
"""The request extension of a GET that fetches the result named in a trigger's reply, at the trigger's own origin."""

_REFUSED_METHODS = ("CONNECT", "TRACE")
"""CONNECT opens a tunnel, and TRACE echoes the request's credential (RFC 9110, sections 9.3.6 and 9.3.8)."""


@dataclass(frozen=True, slots=True)
class AllowedUrls:
    """The address of one entry. With `exact`, only this path is allowed, and requests with POLL at the same origin.
    Otherwise everything at or below the path is allowed. The query of an exact address is added to the request that is
    sent, because it may hold a signature. A result may also be at the origins of `results_at`: such a request is not
    signed, because the credential is for the entry's own origin. With `by_gateway` the address may be http: the way to
    the agent beside it is encrypted."""

    entry: str
    url: URL = field(repr=False)
    exact: bool = False
    results_at: tuple[str, ...] = ()
    by_gateway: bool = False

    def __post_init__(self) -> None:
        """Check that the connection is encrypted."""
        if not (secure(self.url) or self.by_gateway):
            raise ConnectionFault(self.entry, "is plain http", "Write https://; http is for loopback only")
        if self.url.userinfo:
            raise ConnectionFault(self.entry, "has a user name in its address", "Leave out everything up to the @")

    def check_text(self, text: str) -> None:
        """Reject an author's address that the HTTP client would read as another one. Raises ConnectionFault."""
        path = re.split(r"[?#]", text, maxsplit=1)[0]
        if text.startswith(("//", "\\")) or any(segment in (".", "..") for segment in path.split("/")):
            raise self._elsewhere()

    def check(self, request: Request) -> None:
        """Reject a request to any other address. Raises ConnectionFault."""
        if request.url.userinfo or not (self.is_own(request.url) or self._may_have_result(request)):
            raise self._elsewhere()
        check_form(request, self.entry)
        if not self._covers(request):
            raise self._elsewhere()

    def is_own(self, url: URL) -> bool:
        """Whether the URL is at the entry's own origin, the only one that its credential is for."""
        own = self.url
        return (url.scheme, url.raw_host, url.port) == (own.scheme, own.raw_host, own.port)

    def completed(self, url: URL, requested: URL) -> URL:
        """The address to send: `url`, which may hold an API key already. An exact address adds its own query if the
        `requested` address has none."""
        own = self.url.query
        if not (self.exact and own) or requested.query or _path(requested) != _path(self.url):
            return url
        if not self.is_own(requested):
            return url
        return url.copy_with(query=own + b"&" + url.query if url.query else own)

    def _may_have_result(self, request: Request) -> bool:
        if not self.results_at or not _is_poll(request):
            return False
        url = request.url
        return f"{url.scheme}://{url.netloc.decode()}" in self.results_at

    def _covers(self, request: Request) -> bool:
        path, base = _path(request.url), _path(self.url)
        if self.exact:
            return (path == base and self.is_own(request.url)) or _is_poll(request)
        base = base.rstrip(b"/")
        below = path[len(base) :]
        return path.startswith(base) and (below == b"" or (below.startswith(b"/") and not climbs(below)))

    def _elsewhere(self) -> ConnectionFault:
        url = self.url
        at = f"{url.scheme}://{url.netloc.decode()}" + ("" if self.exact else _path(url).decode())
        return ConnectionFault(
            self.entry, f"is for {at} only", "Use another connection for other addresses, and no dot segments (..)"
        )


def _is_poll(request: Request) -> bool:
    return request.method == "GET" and request.extensions.get(POLL) is True


def secure(url: URL) -> bool:
    """Whether the connection cannot be overheard: https, or http to loopback."""
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))


def check_form(request: Request, entry: str) -> None:
    """Reject a request whose Host header names another server, or whose reply would echo its credential. Raises
    ConnectionFault."""
    if request.method in _REFUSED_METHODS:
        raise ConnectionFault(entry, f"does not allow {request.method}", "Use another method")
    hosts = [value.lower() for name, value in request.headers.raw if name.lower() == b"host"]
    if hosts != [request.url.netloc]:
        raise ConnectionFault(entry, "has a request with a Host of its own", "Leave out the Host header")


def _path(url: URL) -> bytes:
    return url.raw_path.partition(b"?")[0]
