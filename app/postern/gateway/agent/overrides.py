"""Fields by which many frameworks take another method, path or host than those of the request line and of `Host`. The
agent decides by what the target may act on, so these are held to the same rows. Pure.

The sources are the documentation of ASP.NET and OData (X-HTTP-Method), Symfony and IIS (X-Original-URL,
X-Rewrite-URL), and RFC 7239. CGI and WSGI read `-` and `_` in names as the same (RFC 3875, section 4.1.18).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_METHODS = frozenset({b"x-http-method", b"x-http-method-override", b"x-method-override"})
_PATHS = frozenset({b"x-original-url", b"x-original-uri", b"x-rewrite-url", b"x-forwarded-uri", b"x-forwarded-path"})
_HOSTS = frozenset({b"x-forwarded-host", b"x-original-host", b"x-http-host-override", b"x-host"})
_FORWARDED = b"forwarded"


@dataclass(slots=True)
class Overrides:
    """Further methods, paths and hosts that a request names. `unclear`: a field whose value could name several."""

    methods: list[str] = field(default_factory=list)
    paths: list[bytes] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    unclear: bool = False


def same_name(name: bytes) -> bytes:
    """A field's name as the least careful target reads it."""
    return name.lower().replace(b"_", b"-")


def overrides(fields: Iterable[tuple[bytes, bytes]]) -> Overrides:
    """What these fields of a request name. Names may be in any case."""
    found = Overrides()
    for name, value in _known(fields):
        found.unclear |= b"," in value
        if name in _METHODS:
            found.methods.append(value.decode("latin-1").upper())
        elif name in _PATHS:
            found.paths.append(value)
        elif name in _HOSTS:
            found.hosts.append(value.decode("latin-1"))
        else:
            found.unclear |= b"host" in value.lower()
    return found


def _known(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for written, value in fields:
        name = same_name(written)
        if name in _METHODS or name in _PATHS or name in _HOSTS or name == _FORWARDED:
            yield name, value.strip()
