"""Networks of addresses: what counts as one place. Pure.

IPv4 addresses count by their network of 24 bits, IPv6 addresses by that of 48 bits, which one site gets (RFC 6177).
An IPv4 address that is written as IPv6 is the IPv4 address.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_BITS = {4: 24, 6: 48}
_NEAR = {4: 16, 6: 32}
"""Bits of what a provider hands out addresses of."""
_CLIENT_BITS = 64
"""Bits of the IPv6 network that one client has."""
OTHER = "(other)"
"""Used for what is not an address: a trusted proxy forwards any text."""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network of an address, such as `192.0.2.0/24`; "" if it is not an address."""
    found = _address(address)
    return "" if found is None else str(ip_network((found, _BITS[found.version]), strict=False))


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 network of 64 bits."""
    found = _address(address)
    if found is None:
        return OTHER if address else ""
    return str(found) if found.version == 4 else str(ip_network((found, _CLIENT_BITS), strict=False))


def address_shown(address: str) -> str:
    """The address in its canonical form."""
    found = _address(address)
    return str(found) if found is not None else OTHER if address else ""


def are_near(one: str, other: str) -> bool:
    """Whether two networks are of one range, as those of one provider in one place often are."""
    return range_of(one) == range_of(other)


def family_of(network: str) -> int:
    """4 or 6."""
    return 6 if ":" in network else 4


@lru_cache(maxsize=4096)
def range_of(network: str) -> str:
    """The range of a network, such as `192.0.0.0/16`."""
    found = ip_network(network)
    return str(found.supernet(new_prefix=_NEAR[found.version]))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
