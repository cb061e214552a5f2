"""The cookies of Postern's own pages. No workflow sees them, and none sets them. Pure.

Workflows and pages are at one origin, so a browser sends these cookies with requests to triggers too.
"""

import re
from collections.abc import Iterable

SESSION = "postern-session"
AUTHORIZATION = "postern-authorization"
HOST_ONLY = "__Host-"
"""What a name begins with where pages are at https. On loopback http it ends with the port instead."""

_MARK = re.compile(f"{SESSION}|{AUTHORIZATION}".encode(), re.IGNORECASE)

Field = tuple[bytes, bytes]


def without_own_cookies(headers: Iterable[Field]) -> list[Field]:
    """The header fields of a request without these cookies. A field with no other cookie is left out."""
    fields = ((name, _others(value) if name == b"cookie" else value) for name, value in headers)
    return [(name, value) for name, value in fields if value or name != b"cookie"]


def sets_own_cookie(value: bytes) -> bool:
    """Whether a Set-Cookie field names one of these cookies, also as the value of a cookie without a name: browsers
    send that back as if it was a name."""
    return _MARK.search(value.partition(b";")[0]) is not None


def _others(value: bytes) -> bytes:
    """The cookies in the value of a Cookie field that do not name ours. Quotes do not hide a semicolon (RFC 6265,
    section 4.2.1), and a proxy may have joined two fields by a comma, so all that is between two semicolons goes."""
    if _MARK.search(value) is None:
        return value
    return b";".join(pair for pair in value.split(b";") if _MARK.search(pair) is None).strip(b" \t")
