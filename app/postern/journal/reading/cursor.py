"""Where the next page of a list begins. A cursor is opaque to its reader, and good for the list and filters that it
came from: it holds a digest of them. It is no secret and opens nothing, so it is not signed."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from postern.errors import problem
from postern.journal.reading.filters import RefusalFilter, RunFilter

_DIGEST = 12
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,200}")
_OPENED = re.compile(r"([0-9a-f]{12})([0-9a-z-]{1,64})")


def sealed(asked: RunFilter | RefusalFilter, last_id: str) -> str:
    """The cursor for what comes behind `last_id` in the list that `asked` describes."""
    return urlsafe_b64encode(f"{_digest(asked)}{last_id}".encode()).decode().rstrip("=")


def opened(asked: RunFilter | RefusalFilter, cursor: str) -> str:
    """The id in a cursor of this list. Raises Problem `bad-filter` where it is of another list, or none of ours."""
    if _CURSOR.fullmatch(cursor):
        try:
            found = _OPENED.fullmatch(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii"))
        except ValueError:
            found = None
        if found and found[1] == _digest(asked):
            return found[2]
    message = "is not a cursor of this list with these filters: begin again without it"
    raise problem("bad-filter", errors=[{"where": "cursor", "message": message}])


def _digest(asked: RunFilter | RefusalFilter) -> str:
    return sha256(repr(asked).encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST]
