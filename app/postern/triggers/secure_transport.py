"""Whether an access token came by a way on which nobody can read it (RFC 6750, section 5.3). Pure, and no token is
looked at.

It came over https, by the word of a trusted proxy or by TLS of this server's own; or straight from this machine, with
no proxy between. Where a proxy that is not trusted stands on this machine, its clients look like this machine's own
programs, so a field that proxies write is enough to refuse. A request without a client's address, as one over a Unix
socket, is refused too.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from postern.access import Caller
from postern.errors import Problem, problem
from postern.loopback import is_loopback

CODE = "insecure-transport"

FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
"""Fields that proxies write (RFC 7239; RFC 9110, section 7.6.3; and the older ones)."""

FIX = "name the proxy in POSTERN_TRUSTED_PROXIES and have it send X-Forwarded-Proto: https"
BY_PROXY = f"a proxy passed it on, which is not trusted or does not say https: {FIX}"
BY_HTTP = f"plain http from another machine: use https; behind a proxy, {FIX}"
NO_ADDRESS = f"plain http without a client's address, as over a Unix socket: use TCP and https; behind a proxy, {FIX}"

Scope = MutableMapping[str, Any]
Peer = tuple[str, int]


def wrong_with(scope: Scope, names: Iterable[bytes]) -> str:
    """Why a request with fields of these names may bring no token, for the operator; "" where it may. The scheme and
    the client of the scope are those that a trusted proxy named, where one did."""
    if scope["scheme"] == "https":
        return ""
    client = scope.get("client")
    if client is None:
        return NO_ADDRESS
    if not FORWARDED.isdisjoint(names):
        return BY_PROXY
    return "" if _this_machine(client[0]) else BY_HTTP


def passed_on(scope: Scope) -> bool:
    """Whether a proxy passed the request on, trusted or not."""
    return not FORWARDED.isdisjoint(name for name, _ in scope["headers"])


class Identification:
    """The one way to who is asking: `recall` and `identify` are those of `identity`, behind the question how the token
    came. Raises Problem `insecure-transport` before anything is done with the token."""

    def __init__(
        self,
        recall: Callable[[bytes], Caller | None],
        identify: Callable[[Iterable[tuple[bytes, bytes]]], Awaitable[Caller]],
    ) -> None:
        self._recall = recall
        self._identify = identify

    def recall(self, scope: Scope, fields: Mapping[bytes, bytes]) -> Caller | None:
        """The caller of a request whose fields have each name once, if its token was verified before. Nearly every
        request comes by here."""
        authorization = fields.get(b"authorization")
        if authorization is None:
            return None
        if reason := wrong_with(scope, fields):
            raise insecure(reason)
        return self._recall(authorization)

    def identify(self, scope: Scope) -> Awaitable[Caller]:
        """The caller of a request. Raises Refused, and Problem `identity-unavailable` where nobody could decide."""
        headers = scope["headers"]
        names = {name for name, _ in headers}
        if b"authorization" in names and (reason := wrong_with(scope, names) or _contradicted(headers)):
            raise insecure(reason)
        return self._identify(headers)


def insecure(reason: str) -> Problem:
    """The refusal of a token that anybody on the way could have read (RFC 6750, section 3.1)."""
    return problem(CODE, reason=reason, headers={"WWW-Authenticate": 'Bearer error="invalid_request"'})


def unmapped(peer: Peer | None) -> Peer | None:
    """The address of a connection as an operator writes it: a socket for both kinds of addresses shows IPv4 as IPv6
    (RFC 4291, section 2.5.5.2), which no proxy or network that is named by IPv4 would be equal to."""
    return (peer[0].removeprefix("::ffff:"), peer[1]) if peer else None


def _contradicted(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Why the word of a trusted proxy is not taken: a client's own stands beside it, and nobody knows which it is."""
    said = {value for name, value in headers if name == b"x-forwarded-proto"}
    return BY_PROXY if len(said) > 1 else ""


@lru_cache(maxsize=1024)
def _this_machine(address: str) -> bool:
    return is_loopback(address)
