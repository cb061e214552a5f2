"""The claims challenge of an API that rejects a token: what the next token has to meet. Pure.

Source: Microsoft, "Claims challenges, claims requests and client capabilities". The claims come from the other side:
they are limited in length, have to be a JSON object, are written anew, and get into no log.
"""

import base64
import json
import re
from collections.abc import Iterable

LONGEST = 8192
"""Characters of a header field, and of the claims in it. A longer challenge is left out: a part of it has no use."""

_DEEPEST = 16
_BEARER = re.compile(r"(^|,)\s*bearer\s", re.IGNORECASE)
_ERROR = re.compile(r'[\s,]error\s*=\s*"?insufficient_claims"?\s*(,|$)', re.IGNORECASE)
_CLAIMS = re.compile(r'[\s,]claims\s*=\s*"([A-Za-z0-9+/_=-]+)"', re.IGNORECASE)


def claims_asked_for(challenges: Iterable[str]) -> str:
    """The claims in the values of `WWW-Authenticate`, as minified JSON; "" if there are none that can be used."""
    for challenge in challenges:
        if len(challenge) > LONGEST or not _BEARER.search(challenge) or not _ERROR.search(challenge):
            continue
        found = _CLAIMS.findall(challenge)
        if len(found) == 1 and (claims := _object(found[0])):
            return claims
    return ""


def _object(encoded: str) -> str:
    """The JSON object in base64, with or without padding, in either alphabet."""
    text = encoded.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        written = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return ""
    is_object = isinstance(document, dict) and bool(document) and isinstance(document.get("access_token", {}), dict)
    return written if is_object and len(written) <= LONGEST and _depth(document) <= _DEEPEST else ""


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [inner for each in level for inner in _members(each)]
    return depth


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
