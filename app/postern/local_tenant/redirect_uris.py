"""Redirect URIs: where people may be sent back to. Pure.

Reference: learn.microsoft.com/entra/identity-platform/reply-url.
"""

import re
from collections.abc import Iterable

LONGEST = 256
_LOOPBACK = re.compile(r"(http://(?:localhost|127\.0\.0\.1))(?::[0-9]{1,5})?(/.*)?", re.ASCII)


def is_registered(given: str, registered: Iterable[str]) -> bool:
    """Whether a redirect URI is one of those registered: the same text. The port does not matter on loopback over http
    (RFC 8252, section 7.3)."""
    if (
        not given
        or len(given) > LONGEST
        or not (given.isascii() and given.isprintable())
        or set(given) & set(' "<>\\#')
    ):
        return False
    loopback = _LOOPBACK.fullmatch(given)
    without_port = f"{loopback[1]}{loopback[2] or ''}" if loopback else given
    return any(each in (given, without_port) for each in registered)
