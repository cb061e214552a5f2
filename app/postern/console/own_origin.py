"""Whether a request that changes something comes from a page of the console itself (CSRF). Pure.

A cookie alone proves nothing: browsers send it along with a form of a neighbouring site. They also say where a request
comes from, in headers that no page can set (Fetch Metadata; RFC 6454, section 7).
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""

PORTS = {"http": ":80", "https": ":443"}


def origin_of(address: str) -> str:
    """The origin of a URL as browsers write it (RFC 6454, section 6.1)."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(PORTS.get(parts.scheme, ''))}"


def foreign(method: str, headers: Iterable[tuple[bytes, bytes]], own: str) -> str:
    """For the operator, why a request is not one of the console's own pages; "" if it is, or changes nothing. `own` is
    the console's origin."""
    if method in SAFE:
        return ""
    fields = list(headers)
    sites = [value for name, value in fields if name == b"sec-fetch-site"]
    if sites:
        return "" if sites == [b"same-origin"] else f"Sec-Fetch-Site is {_shown(sites)}, not same-origin"
    origins = [value for name, value in fields if name == b"origin"]
    if origins:
        return "" if origins == [own.encode()] else f"Origin is {_shown(origins)}, not {own}"
    return "neither Sec-Fetch-Site nor Origin"


def _shown(values: list[bytes]) -> str:
    return ascii(b", ".join(values)[:100].decode("latin-1"))[1:-1]
