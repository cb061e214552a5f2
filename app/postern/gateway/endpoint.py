"""`GET /gateways/{name}/link`: who may have a link, and the link itself."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import structlog

from postern.access import Caller, Guarded, Refused, admit
from postern.errors import problem
from postern.gateway.hub import MOST_LINKS, Hub
from postern.gateway.link_io import LinkIO, Messages
from postern.gateway.policy import no_origin

SUBPROTOCOL = "postern-gateway.1"
PATH = "/gateways/{name}/link"

RETRY_AFTER = 60
"""Seconds after which an agent that finds no room comes again."""

log = structlog.get_logger(__name__)

Headers = Iterable[tuple[bytes, bytes]]
Scope = Any


class Socket(Messages, Protocol):
    """A WebSocket that is not upgraded yet."""

    subprotocols: tuple[str, ...]

    async def accept(self, subprotocol: str) -> None:
        """Upgrade it."""

    async def close(self, reason: str) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """An agent whose link may begin. `expires_at`: when its token expires, in Unix seconds."""

    gateway: str
    caller: Caller
    expires_at: float
    socket: Socket


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The links of the gateways of `policies`, by name. `identify` verifies the token of a request over a secure
    transport, and `still` raises Refused if its access has ended since. `expires_at` reads when a verified token
    expires, and `socket` returns what can be upgraded."""

    hub: Hub
    policies: Mapping[str, Guarded]
    identify: Callable[[Scope], Awaitable[Caller]]
    still: Callable[[Caller], None]
    expires_at: Callable[[Headers], float]
    socket: Callable[[Scope], Socket | None]

    async def admit(self, name: str, scope: Scope) -> Admitted:
        """Check a request before anything is upgraded. Only a valid token shows which gateways there are.
        Raises Refused, and Problem."""
        if origin := [value for field, value in scope["headers"] if field == b"origin"]:
            raise Refused([no_origin(f"{len(origin)} Origin fields")])
        caller = await self.identify(scope)
        policy = self.policies.get(name)
        if policy is None:
            raise problem("not-found", reason="the settings have no gateway of this name: see [gateways.NAME]")
        admit(policy, caller)
        socket = self.socket(scope)
        if socket is None:
            detail = "This is the link of a gateway's agent: it takes the handshake of a WebSocket of version 13."
            raise problem("bad-header", detail=detail, headers={"Sec-WebSocket-Version": "13"})
        if SUBPROTOCOL not in socket.subprotocols:
            raise problem("bad-header", detail=f"The agent does not offer the subprotocol {SUBPROTOCOL}.")
        if not self.hub.has_room(name):
            detail = f"Gateway {name} has {MOST_LINKS} links already."
            raise problem("rate-limited", detail=detail, headers={"Retry-After": str(RETRY_AFTER)})
        return Admitted(name, caller, self.expires_at(scope["headers"]), socket)

    async def serve(self, admitted: Admitted) -> None:
        """Upgrade the connection, and run its link until that ends."""
        gateway, caller, socket = admitted.gateway, admitted.caller, admitted.socket
        with suppress(anyio.BrokenResourceError, OSError):
            await socket.accept(SUBPROTOCOL)
            try:
                self.still(caller)
            except Refused:
                reason = "the access of the agent was revoked"
            else:
                log.info("gateway-link-begun", gateway=gateway, object_id=caller.object_id)
                io = LinkIO(socket, client_side=True)
                reason = await self.hub.serve(gateway, caller, admitted.expires_at, io)
            await socket.close(reason)
