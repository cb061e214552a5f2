"""How long a log line may be: an author's value, a library's message and an exception's text may have any length."""

import json
from typing import Any

MOST_OF_A_TEXT = 8192
MOST_OF_A_NAME = 200
MOST_OF_FIELDS = 32_768
"""Characters of all fields of a line together, besides the event and the exception."""
MOST_OF_A_TRACE = 16_384
MOST_OF_A_LINE = 65_536
"""Characters of a whole line, before those that are not ASCII are escaped."""
MOST_READ = 65_536
"""Characters of a text in which secrets are looked for."""
MOST_FRAMES = 50
"""Calls that are kept of each exception of a chain: the last ones."""

_OWN = frozenset({"timestamp", "level", "event", "logger", "exception", "run_id", "trace_id"})
"""What says when, where and why comes first, whatever else a line has."""
_MOST_BITS = 1024
_EACH = 8  # for quotes and commas


def bounded(line: dict[str, Any]) -> dict[str, Any]:
    """The line with long names and texts cut, values of many parts as cut JSON, and the fields left out that no longer
    fit: `fields_left_out` has their number."""
    made: dict[str, Any] = {}
    room, left_out = MOST_OF_FIELDS, 0
    for given, found in line.items():
        if given in _OWN:
            made[given] = _cut(found, MOST_OF_A_TRACE + 100) if given == "exception" else _short(found)[0]
            continue
        name = given if len(given) <= MOST_OF_A_NAME else _cut(given, MOST_OF_A_NAME)
        value, size = _short(found)
        room -= len(name) + size + _EACH
        if room < 0:
            left_out += 1
        else:
            made[name] = value
    return {**made, "fields_left_out": left_out} if left_out else made


def bounded_trace(text: str) -> str:
    """A traceback without secrets, with its beginning and its end, where the calls and the last exception are."""
    if len(text) <= MOST_OF_A_TRACE:
        return text
    half = MOST_OF_A_TRACE // 2
    return f"{text[:half]}…\n({len(text) - 2 * half:,} characters left out)\n…{text[-half:]}"


def _short(value: Any) -> tuple[Any, int]:
    """A JSON value that is not too long, and its length."""
    if isinstance(value, str):
        short = value if len(value) <= MOST_OF_A_TEXT else _cut(value, MOST_OF_A_TEXT)
        return short, len(short)
    if isinstance(value, dict | list):
        try:
            text = json.dumps(value)
        except ValueError:  # a number too long to be written
            text = f"<{type(value).__name__}>"
            return text, len(text)
        return (value, len(text)) if len(text) <= MOST_OF_A_TEXT else (_cut(text, MOST_OF_A_TEXT), MOST_OF_A_TEXT)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"<a number of {value.bit_length():,} bits>", _MOST_BITS
    return value, _EACH


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} characters left out)"
