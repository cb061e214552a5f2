"""Durations as authors write them: seconds, or a text such as `30d` or `2h`. Pure."""

import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TEXT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])")
LONGEST = 10 * 366 * 86400.0
"""Seconds: ten years."""


def seconds_of(duration: object, what: str) -> float:
    """The seconds of a duration: a number of them, or a text with the unit s, m, h, d or w. Raises ValueError, whose
    text begins with `what`."""
    seconds = -1.0
    if isinstance(duration, str) and (found := _TEXT.fullmatch(duration)):
        seconds = float(found[1]) * _UNITS[found[2]]
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        seconds = float(duration)
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f'{what}={duration!r}: give seconds, or a text such as "30d", "2h", "15m"; at most ten years')
    return seconds
