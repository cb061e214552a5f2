"""Ids of runs and requests: ordered by time and impossible to guess."""

import os
import time

_RANDOM_BYTES = 10
_AT_ONCE = 256
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Ids:
    """What is kept from one id to the next: random bytes still unused, and how the current millisecond is written."""

    def __init__(self) -> None:
        self.random: list[str] = []
        self.millisecond = 0
        self.time_part = ""

    def draw(self) -> str:
        """The random digits of one id. Those of many are drawn in one system call: each call gives up the interpreter
        lock, and getting it back is dear while other threads run."""
        drawn = os.urandom(_RANDOM_BYTES * _AT_ONCE).hex()
        width = _RANDOM_BYTES * 2
        self.random.extend(drawn[start : start + width] for start in range(width, len(drawn), width))
        return drawn[:width]


_ids = _Ids()


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    try:
        random = _ids.random.pop()
    except IndexError:
        random = _ids.draw()
    millisecond = time.time_ns() // 1_000_000
    if millisecond != _ids.millisecond:
        digits = f"{millisecond:012x}"
        _ids.millisecond, _ids.time_part = millisecond, f"{digits[:8]}-{digits[8:]}-7"
    return f"{_ids.time_part}{random[1:4]}-{_VARIANT[random[0]]}{random[4:7]}-{random[7:19]}"
