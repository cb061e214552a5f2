"""Whether a host is this machine."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether the host name or address is this machine's own (RFC 6761, section 6.3; RFC 1122, section 3.2.1.3)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
