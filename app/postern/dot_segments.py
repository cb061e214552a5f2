"""Whether a path could lead to a parent folder, as some server reads it. Pure."""

import re
from urllib.parse import unquote_to_bytes

_MOST_DECODINGS = 4


def climbs(path: bytes) -> bool:
    """Whether a server could read the path as leading to a parent folder. This covers dot segments, also with
    parameters (`..;x`) or between encoded slashes, encoded dots, backslashes, each also encoded several times, and
    bytes that are not UTF-8 (overlong forms). An encoded slash alone is data of its segment (RFC 3986, section 2.2):
    however often a server decodes it, the path stays below its beginning. `path` begins with a slash."""
    if path.startswith(b"//") or re.search(rb"%(25)*(2e|5c)", path, re.IGNORECASE):
        return True
    for _ in range(_MOST_DECODINGS):
        if _has_way_up(path):
            return True
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return False
        path = decoded
    return True


def _has_way_up(path: bytes) -> bool:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return True
    if "\\" in text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        return True
    return any(segment.partition(";")[0].strip() in (".", "..") for segment in text.split("/"))
