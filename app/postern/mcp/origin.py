"""Which pages of browsers may call `/mcp`: those of this server itself. Pure.

A client of the Model Context Protocol sends no Origin. A page of another site that reaches the server, by a name of its
own too (DNS rebinding), has its own origin, and is rejected (revision 2026-07-28, Transports, "Security").
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from postern.loopback import is_loopback


def foreign_origin(headers: Iterable[tuple[bytes, bytes]], scheme: str, public_url: str) -> str:
    """The Origin of a request that is not of this server; "" if there is none, or it is. An own origin is that of the
    public URL, or on loopback the scheme and Host of the request itself."""
    fields = list(headers)
    sent = [value.decode("latin-1").lower() for name, value in fields if name == b"origin"]
    if not sent:
        return ""
    host = next((value.decode("latin-1").lower() for name, value in fields if name == b"host"), "")
    return "" if len(sent) == 1 and sent[0] in _own(host, scheme, public_url) else sent[0] or "an empty Origin"


def _own(host: str, scheme: str, public_url: str) -> set[str]:
    own = set()
    if public_url:
        parts = urlsplit(public_url)
        port = ":443" if parts.scheme == "https" else ":80"
        own.add(f"{parts.scheme}://{parts.netloc.removesuffix(port)}".lower())
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if is_loopback(name):
        own.add(f"{scheme}://{host}")
    return own
