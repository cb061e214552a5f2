"""Which requests may become a link of a gateway: the only upgrade that this server makes. Pure.

All others are plain requests, whatever they ask for. What passes here passes the handshake of `websockets` too (RFC
6455, section 4.2.1), so that every rejection is a problem document.
"""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterable

LINK_PATH = re.compile(rb"/gateways/[A-Za-z0-9._-]{1,100}/link")
PREFIX = b"/gateways/"
"""A cheap first look at each request."""

MAX_FIELDS = 100
MAX_FIELD_BYTES = 8000
"""`websockets` reads no more (8 KiB a line). A token in a longer field is of an application with hundreds of roles."""

KEY_BYTES = 16
ONCE = frozenset({b"upgrade", b"sec-websocket-key", b"sec-websocket-version"})


def wants_link(method: bytes, version: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether this head without a body is that of a link's handshake. Names of headers are in lower case."""
    if method != b"GET" or version != "1.1" or not LINK_PATH.fullmatch(target) or not _is_small(headers):
        return False
    fields = [(name, value) for name, value in headers if name in ONCE]
    once = dict(fields)
    return (
        len(once) == len(fields) == len(ONCE)
        and once[b"upgrade"].lower() == b"websocket"
        and once[b"sec-websocket-version"] == b"13"
        and _is_key(once[b"sec-websocket-key"])
        and b"upgrade" in _options(headers)
    )


def _is_small(headers: list[tuple[bytes, bytes]]) -> bool:
    return len(headers) <= MAX_FIELDS and all(len(name) + len(value) <= MAX_FIELD_BYTES for name, value in headers)


def _options(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The connection options (RFC 9110, section 7.6.1)."""
    return {each.strip().lower() for name, value in headers if name == b"connection" for each in value.split(b",")}


def _is_key(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == KEY_BYTES
    except (Error, ValueError):
        return False
