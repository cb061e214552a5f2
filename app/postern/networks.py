"""Networks of clients: how they are written, and whether an address is in one. Pure.

An IPv4 address that is written as IPv6 (`::ffff:10.0.0.7`, RFC 4291, section 2.5.5.2) is that IPv4 address, in a
network and in an address of a client. So an IPv4 client is only in IPv4 networks, however the operating system or a
proxy writes it.
"""

import ipaddress
import re
from functools import lru_cache

FORM = re.compile(r"[0-9a-fA-F.:]{2,45}(/[0-9]{1,3})?")
LONGEST = 64
"""Characters of an address with its scope id. What is longer is no address."""

_MAPPED_BITS = 96

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def canonical(text: str) -> str:
    """The network as CIDR; an address is the network of itself. Raises ValueError if it is neither, or has bits behind
    its prefix."""
    return str(_parsed(text))


def in_networks(address: str, networks: tuple[str, ...]) -> bool:
    """Whether the address is in one of the networks. What is no address is in none. An address may have a scope id
    (RFC 4007, section 11), which does not matter."""
    return len(address) <= LONGEST and _in_networks(address, networks)


def as_mapped(network: str) -> str:
    """An IPv4 address or network as IPv6 writes it, for programs that compare what is written; else as it is."""
    parsed = ipaddress.ip_network(network)
    if parsed.version == 6:
        return network
    return f"::ffff:{parsed.network_address}/{parsed.prefixlen + _MAPPED_BITS}"


@lru_cache(maxsize=4096)
def _in_networks(address: str, networks: tuple[str, ...]) -> bool:
    head, _, _ = address.partition("%") if ":" in address else (address, "", "")
    try:
        found = ipaddress.ip_address(head)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in _all_parsed(networks))


@lru_cache(maxsize=256)
def _all_parsed(networks: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(map(_parsed, networks))


def _parsed(text: str) -> _Network:
    if not FORM.fullmatch(text):
        raise ValueError(f"{text!r} is not an address or a network")
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
