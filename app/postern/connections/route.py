"""The way to an entry: directly or by a gateway, and which authorities are trusted. Each way has a pool of its own."""

from dataclasses import dataclass
from pathlib import Path

from postern.settings import Auth, Connection, Trigger


@dataclass(frozen=True, slots=True)
class Route:
    """`gateway` is None for a direct way. With `ends_tls` TLS ends at the gateway's agent, which reads the requests.
    `ca_bundle` is a file of authorities, None for those of all calls."""

    gateway: str | None = None
    ca_bundle: Path | None = None
    ends_tls: bool = False


DIRECT = Route()


def route_of(entry: Connection | Trigger) -> Route:
    """The way to the address of an entry."""
    return Route(entry.gateway, entry.ca_bundle, ends_tls=entry.tls == "gateway")


def token_route_of(auth: Auth, route: Route) -> Route:
    """The way to the token endpoint of an entry that is reached by `route`: direct, unless its `auth` names a gateway.
    The authorities of the entry are trusted there too then."""
    gateway = getattr(auth, "gateway", None)
    return DIRECT if gateway is None else Route(gateway, route.ca_bundle)
