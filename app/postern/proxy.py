"""The proxy for calls out, and which calls use it. Pure."""

import ipaddress
from dataclasses import dataclass

from postern.loopback import is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy at `url`. Hosts in `direct` are called without it: names with all names below them, addresses and
    networks. This machine is never called through it."""

    url: str
    direct: tuple[str, ...] = ()

    def carries(self, host: str) -> bool:
        """Whether calls to this host go through the proxy."""
        name = host.lower().strip("[]").rstrip(".")
        return not is_loopback(name) and not any(_covers(each.lower(), name) for each in self.direct)


def _covers(direct: str, host: str) -> bool:
    bare = direct.removeprefix("*").strip(".")
    if host == bare or host.endswith(f".{bare}"):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(direct)
    except ValueError:
        return False
