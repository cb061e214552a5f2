"""Cursors: where the next page of a list begins. A cursor is opaque to clients and valid for one list with its filters,
of which it holds a digest. It is not a secret and grants no access, so it is not signed."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from postern.errors import problem

_DIGEST = 12
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,200}")
_OPENED = re.compile(r"([0-9a-f]{12})([0-9a-z-]{1,64})")


def sealed(filters: object, last_id: str) -> str:
    """The cursor for the entries after `last_id` in the list with these filters."""
    return urlsafe_b64encode(f"{_digest(filters)}{last_id}".encode()).decode().rstrip("=")


def opened(filters: object, cursor: str) -> str:
    """The id in a cursor of this list. Raises Problem `bad-filter` if it is of another list, or not a cursor."""
    if _CURSOR.fullmatch(cursor):
        try:
            found = _OPENED.fullmatch(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii"))
        except ValueError:
            found = None
        if found and found[1] == _digest(filters):
            return found[2]
    message = "is not a cursor for this list with these filters: start again without it"
    raise problem("bad-filter", errors=[{"where": "cursor", "message": message}])


def _digest(filters: object) -> str:
    return sha256(repr(filters).encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST]
