"""Under which names the server answers browsers, so that no page of another site reaches it by DNS rebinding. Pure.

The owner of a site can let its name point to this server's address. A page of that site then has the same origin as
this server, and may read what it answers. Only the Host of its requests shows it (RFC 9110, sections 7.2 and 15.5.20).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from postern.loopback import is_loopback

PAGES = (b"/docs", b"/console", b"/connect")
"""Pages for people, whose browsers are sent to the public URL instead."""

FIX = "set POSTERN_PUBLIC_URL to the address that browsers use, and let the proxy pass on the Host that it received"

MISDIRECTED = ""
"""Instead of an address: the request is rejected with 421."""

Scope = Mapping[str, Any]
Fields = Mapping[bytes, bytes]


class OwnHost:
    """Checks the Host of requests. `public_url` is the server's own address; loopback is always its own. `always`
    checks all requests, as `postern dev` does; else only those that a page in a browser sends. Programs may use any
    name then."""

    def __init__(self, public_url: str, *, always: bool) -> None:
        self._public_url = public_url
        self._name = _name(urlsplit(public_url).netloc)
        self._always = always

    def elsewhere(self, scope: Scope, fields: Fields | None) -> str | None:
        """None for a request under an own name. Else where to send the browser, or MISDIRECTED. `fields` has the
        headers by name, if each occurs once."""
        if fields is None:
            fields = dict(scope["headers"])
        page = scope["raw_path"].startswith(PAGES) and _opens_page(scope, fields)
        if not (self._always or page or b"origin" in fields or b"sec-fetch-site" in fields):
            return None
        if self._is_own(fields.get(b"host", b"")):
            return None
        if not (page and self._public_url) or self._is_own(fields.get(b"x-forwarded-host", b"")):
            return MISDIRECTED  # behind a proxy that has replaced the Host, a redirect would come back here
        return self._public_url + str(scope["raw_path"], "ascii")

    def _is_own(self, host: bytes) -> bool:
        name = _name(host.decode("latin-1"))
        return bool(name) and (name == self._name or is_loopback(name))


def _opens_page(scope: Scope, fields: Fields) -> bool:
    """Whether a browser opens a page. Over plain http, browsers send no Sec-Fetch headers."""
    if scope["method"] not in ("GET", "HEAD") or not any(_is_below(scope["raw_path"], page) for page in PAGES):
        return False
    mode = fields.get(b"sec-fetch-mode")
    return mode == b"navigate" if mode is not None else b"text/html" in fields.get(b"accept", b"")


def _is_below(path: bytes, page: bytes) -> bool:
    return path == page or path.startswith(page + b"/")


def _name(host: str) -> str:
    """The host's name in lower case, without the port, the brackets and the dot at the end (RFC 3986, section 3.2)."""
    name = host.rpartition("@")[2]
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.lower().removesuffix(".")
