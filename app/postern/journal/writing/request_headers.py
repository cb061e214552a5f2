"""The headers of a request as they are recorded: those that its workflow may see, without credentials. Pure."""

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from postern.redaction import is_secret_name, without_secret_values

if TYPE_CHECKING:  # the writer's process needs nothing of Starlette
    from postern.authoring.request import Request

MAX_HEADER_BYTES = 16 * 1024
"""Bytes of headers that are recorded. Those that do not fit are left out."""

_CREDENTIAL = re.compile(r"(?:^|-)(?:key|session(?:-id)?)$")
_NO_CREDENTIALS = frozenset({"idempotency-key"})
_KEY_FIELD = frozenset({b"idempotency-key"})
MAX_NAME = 100


def packed(request: "Request", *, secured: bool = False) -> bytes:
    """The names and values that the workflow may see, in one piece, which is quickly made and sent to the writer. No
    header has a line break. The Idempotency-Key of a secured run is left out: its request is stored under it."""
    withheld = request._withheld
    if secured:
        withheld |= _KEY_FIELD
    return b"\n".join([part for pair in request._raw_headers if pair[0] not in withheld for part in pair])


@lru_cache(maxsize=128)  # the headers of one client are mostly the same from request to request
def written_headers(pieces: bytes) -> str:
    """JSON of packed headers: a list of names and values. The value of a header that is left out is null."""
    parts = pieces.decode("latin-1").split("\n") if pieces else []
    room = MAX_HEADER_BYTES
    found: list[tuple[str, str | None]] = []
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        room -= len(name) + len(value)
        fits = room >= 0 and len(name) <= MAX_NAME
        shown = fits and not is_credential(name) and without_secret_values(value) == value
        found.append((name[:MAX_NAME], value if shown else None))
    return json.dumps(found)


def is_credential(name: str) -> bool:
    """Whether values under this header name are never recorded: those that are redacted everywhere, and names such as
    X-Gitlab-Token."""
    plain = name.lower().replace("_", "-")
    return is_secret_name(name) or (plain not in _NO_CREDENTIALS and _CREDENTIAL.search(plain) is not None)
