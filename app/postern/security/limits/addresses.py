"""Which addresses count as one client. Pure."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_LONGEST = 46
"""Characters that are kept of what is no address: a trusted proxy may forward any text. An address has one less at
most, so that no part of another text is the name of a client."""


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """What counts as one client: an address of version 4, or the network of 64 bits of an address of version 6, all of
    which one client has (RFC 6177). An address of version 4 that is written as version 6 is the same client (RFC 4291,
    section 2.5.5.2)."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_LONGEST]
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return str(ip_network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)
