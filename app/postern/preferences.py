"""The field Prefer of a request. Pure.

Source: RFC 7240, sections 2, 4.1 and 4.3. What cannot be read is ignored, as section 2 says.
"""

import re

from postern.possessive import possessive

_WAIT = re.compile(rb"[0-9]{1,9}")
_QUOTED = possessive(r'[^"\\]|\\.')
_PARTS = re.compile(rf'(?:"{_QUOTED}(?:"|\\?\Z)|[^",])+'.encode(), re.DOTALL)
"""What is between two commas: within quotes, which may lack their end, a comma is text."""


def prefers_async(field: bytes) -> bool:
    """Whether the caller prefers not to wait: `respond-async`."""
    return b"respond-async" in preferences(field)


def wait_of(field: bytes, most: float) -> float:
    """The seconds that the caller waits: `wait=N`, at most `most`; 0 if it does not say."""
    value = preferences(field).get(b"wait", b"")
    return min(float(value), most) if _WAIT.fullmatch(value) else 0.0


def preferences(field: bytes) -> dict[bytes, bytes]:
    """The preferences by their names in lower case. Of one that is named twice the first counts."""
    found: dict[bytes, bytes] = {}
    for part in _PARTS.findall(field):
        name, _, value = part.partition(b";")[0].partition(b"=")
        found.setdefault(name.strip().lower(), value.strip().strip(b'"'))
    return found
