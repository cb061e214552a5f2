"""Which addresses the agent may connect to. Pure.

A name is resolved at the agent, and its addresses are in the hands of those who run its DNS zone. So every address is
checked, also the IPv4 address inside an IPv6 address that a router or the system would translate.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6

NEVER = {
    "0.0.0.0/8": "is unspecified",  # RFC 1122, section 3.2.1.3; Linux connects 0.0.0.0 to this machine
    "169.254.0.0/16": "is link-local",  # RFC 3927; metadata services of most clouds
    "224.0.0.0/4": "is multicast",  # RFC 5771
    "255.255.255.255/32": "is the broadcast address",  # RFC 919
    "168.63.129.16/32": "is a service of the cloud's host",  # Azure: DNS, agent and health of virtual machines
    "100.100.100.200/32": "is a metadata service",  # Alibaba Cloud
    "192.0.0.192/32": "is a metadata service",  # Oracle Cloud
    "::/128": "is unspecified",  # RFC 4291, section 2.5.2
    "fe80::/10": "is link-local",  # RFC 4291, section 2.5.6
    "fec0::/10": "is site-local",  # RFC 3879: deprecated
    "ff00::/8": "is multicast",  # RFC 4291, section 2.7
    "fd00:ec2::/32": "is a metadata service",  # AWS
    "fd20:ce::/32": "is a metadata service",  # Google Cloud
    "fd00:c1::/32": "is a metadata service",  # Oracle Cloud
}
"""Networks that are never connected to, whatever the file allows, and why."""

_NEVER = [(ipaddress.ip_network(network), why) for network, why in NEVER.items()]

_AT_THE_END = [
    ipaddress.IPv6Network(each)
    for each in (
        "::/96",  # IPv4-compatible: RFC 4291, section 2.5.5.1
        "::ffff:0:0/96",  # IPv4-mapped: RFC 4291, section 2.5.5.2
        "::ffff:0:0:0/96",  # IPv4-translated: RFC 2765
        "64:ff9b::/96",  # NAT64: RFC 6052
    )
]
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_6TO4 = ipaddress.IPv6Network("2002::/16")  # RFC 3056
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214, section 6.1: the interface identifier's first half


def refused(address: str, *, loopback: bool) -> str:
    """Why the address may not be connected to, as a predicate; "" if it may. `loopback`: the row of the file says that
    the target is this machine. What is no address may not be connected to."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "is not an address"
    if isinstance(found, IPv6) and found.scope_id is not None:
        return "has a scope"
    for each in (found, *_inside(found)):
        why = next((why for network, why in _NEVER if each in network), "")
        if not why and not loopback and each.is_loopback:
            why = "is this machine's own"
        if why:
            return why if each is found else f"{why} ({each})"
    return ""


def first_refused(addresses: Iterable[str], *, loopback: bool) -> tuple[str, str] | None:
    """The first address that may not be connected to, and why; None if all may. One bad address is enough to refuse a
    name: the others come from the same zone."""
    return next(((each, why) for each in addresses if (why := refused(each, loopback=loopback))), None)


def _inside(address: IPv4 | IPv6) -> Iterator[IPv4]:
    """The IPv4 addresses that an IPv6 address is translated to somewhere."""
    if isinstance(address, IPv4) or address in (IPv6("::"), IPv6("::1")):
        return
    bits = int(address)
    if any(address in network for network in _AT_THE_END) or (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        yield IPv4(bits & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        yield from _of_rfc_6052(bits)
    if address in _6TO4:
        yield IPv4((bits >> 80) & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4((bits >> 64) & 0xFFFFFFFF)
        yield IPv4(~bits & 0xFFFFFFFF)


def _of_rfc_6052(bits: int) -> Iterator[IPv4]:
    """The address behind each prefix that a site may have chosen: of 48, 56, 64 or 96 bits, around the byte that is
    zero (RFC 6052, section 2.2). Behind the wrong prefixes there are mostly zeros, which say nothing."""
    packed = bits.to_bytes(16, "big")
    found = [(packed[prefix:8] + packed[9:])[:4] for prefix in (6, 7, 8)] + [packed[12:]]
    yield from (IPv4(each) for each in found if each[0])
