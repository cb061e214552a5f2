"""Checks that an access token was sent over a secure transport (RFC 6750, section 5.3). Pure; the token is not read.

The transport is secure if a trusted proxy says https, if this server terminated TLS, or if the request came directly
from this machine. The clients of an untrusted proxy on this machine look like local programs, so a request with any
header that proxies write is rejected. A request without a client address, such as one over a Unix socket, is rejected
too.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from postern.access import Caller, refuse_outside
from postern.errors import Problem, problem
from postern.identity.bearer import digest_of_field
from postern.loopback import is_loopback
from postern.triggers.via import VIA

CODE = "insecure-transport"

FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
"""Headers that proxies write (RFC 7239; RFC 9110, section 7.6.3; and the older ones)."""

FIX = "name the proxy in POSTERN_TRUSTED_PROXIES and have it send X-Forwarded-Proto: https"
BY_PROXY = f"a proxy forwarded the request, and it is not trusted or does not report https alone: {FIX}"
BY_HTTP = f"plain http from another machine: use https; behind a proxy, {FIX}"
NO_ADDRESS = f"plain http without a client address, as over a Unix socket: use TCP and https; behind a proxy, {FIX}"

Scope = MutableMapping[str, Any]
Peer = tuple[str, int]
Digest = Callable[[bytes], bytes]


def wrong_with(scope: Scope, names: Iterable[bytes]) -> str:
    """For the operator, why a request with headers of these names may not carry a token; "" if it may. The scope has
    the scheme and client that a trusted proxy reported, if one did."""
    if scope["scheme"] == "https":
        return ""
    client = scope.get("client")
    if client is None:
        return NO_ADDRESS
    if not FORWARDED.isdisjoint(names):
        return BY_PROXY
    return "" if _this_machine(client[0]) else BY_HTTP


def unsafe(scope: Scope) -> str:
    """The same for a request as it came, with every header: "" if what it carries is as secret as it was sent."""
    headers = scope["headers"]
    return wrong_with(scope, {name for name, _ in headers}) or _contradicted(headers)


def passed_on(scope: Scope) -> bool:
    """Whether a proxy forwarded the request, trusted or not."""
    return not FORWARDED.isdisjoint(name for name, _ in scope["headers"])


class Identification:
    """The only way to identify a caller: `recall` and `identify` of `identity`, after a check of the transport. Raises
    Problem `insecure-transport` before the token is used, and Refused for a token for `/mcp` only if the request was
    sent elsewhere. `mcp_scope` is the only scope of such tokens, "" if there are none."""

    def __init__(
        self,
        recall: Callable[[bytes, Digest], Caller | None],
        identify: Callable[[Iterable[tuple[bytes, bytes]]], Awaitable[Caller]],
        mcp_scope: str = "",
    ) -> None:
        self._recall = recall
        self._identify = identify
        self._mcp_scope = mcp_scope

    def recall(self, scope: Scope, fields: Mapping[bytes, bytes], digest: Digest = digest_of_field) -> Caller | None:
        """The caller of a request in which each header occurs once, if its token was verified before. Nearly every
        request takes this path. `digest`: see Exchange."""
        authorization = fields.get(b"authorization")
        if authorization is None:
            return None
        if reason := wrong_with(scope, fields):
            raise insecure(reason)
        caller = self._recall(authorization, digest)
        if self._mcp_scope and caller is not None and VIA not in scope:
            refuse_outside(caller, self._mcp_scope)
        return caller

    def identify(self, scope: Scope) -> Awaitable[Caller]:
        """The caller of a request. Raises Refused, and Problem `identity-unavailable` if it cannot be checked."""
        headers = scope["headers"]
        if any(name == b"authorization" for name, _ in headers) and (reason := unsafe(scope)):
            raise insecure(reason)
        return self._identify_outside(headers) if self._mcp_scope and VIA not in scope else self._identify(headers)

    async def _identify_outside(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        caller = await self._identify(headers)
        refuse_outside(caller, self._mcp_scope)
        return caller


def insecure(reason: str) -> Problem:
    """The problem for a token that others on the network could have read (RFC 6750, section 3.1)."""
    return problem(CODE, reason=reason, headers={"WWW-Authenticate": 'Bearer error="invalid_request"'})


def unmapped(peer: Peer | None) -> Peer | None:
    """The address of a connection as an operator writes it. A dual-stack socket shows IPv4 as IPv6 (RFC 4291, section
    2.5.5.2), which would match no proxy or network configured by its IPv4 address."""
    return (peer[0].removeprefix("::ffff:"), peer[1]) if peer else None


def _contradicted(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Why a trusted proxy's header is ignored: the client sent the same header, and the two cannot be distinguished."""
    said = {value for name, value in headers if name == b"x-forwarded-proto"}
    return BY_PROXY if len(said) > 1 else ""


@lru_cache(maxsize=1024)
def _this_machine(address: str) -> bool:
    return is_loopback(address)
