"""Whether a request comes from a network that may send requests. Pure; nothing else of the request is looked at.

The address is the one that trusted proxies report. A request without an address, such as one over a Unix socket, comes
from no network.
"""

from collections.abc import Callable

from postern.access import Check, Refused
from postern.catalog import Trigger
from postern.networks import in_networks
from postern.triggers.rejections import NETWORK, address_of
from postern.triggers.secure_transport import Scope, passed_on

ANYWHERE = frozenset({b"/healthz", b"/readyz", b"/metrics"})
"""What is for those who watch the server, from wherever they do."""

BY_PROXY = (
    "a proxy passed the request on. If the address found is the proxy's own, name the proxy in POSTERN_TRUSTED_PROXIES"
)
NO_ADDRESS = "the request came without an address, as over a Unix socket: listen on TCP"


def check_network(trigger: Trigger, scope: Scope) -> None:
    """Raises Refused for a request from outside the networks of the workflow."""
    networks = trigger.workflow.networks
    if networks and (refused := outside(networks, scope)) is not None:
        try:
            raise refused
        finally:
            del refused  # it has this frame: they would keep each other


def network_check(networks: tuple[str, ...]) -> Callable[[Scope], Refused | None] | None:
    """What refuses requests from outside these networks, but those in ANYWHERE; None without networks."""
    if not networks:
        return None
    return lambda scope: None if scope["raw_path"] in ANYWHERE else outside(networks, scope)


def outside(networks: tuple[str, ...], scope: Scope) -> Refused | None:
    """Why the request is refused; None if it comes from one of the networks."""
    address = address_of(scope)
    if in_networks(address, networks):
        return None
    hint = NO_ADDRESS if not address else BY_PROXY if passed_on(scope) else ""
    return Refused([check._replace(hint=hint) for check in checks_of(address, networks)])


def checks_of(address: str, *each: tuple[str, ...]) -> list[Check]:
    """The check of this address for each list of networks that is not empty: the server's, then the workflow's."""
    return [
        Check(NETWORK, in_networks(address, networks), ", ".join(networks), address) for networks in each if networks
    ]
