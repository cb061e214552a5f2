"""Ids of runs and requests: ordered by time and impossible to guess."""

import os
import re
import time

_RANDOM_BYTES = 10
_BATCH = 256
_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LATEST = 2**48 - 1
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Ids:
    """State between two ids: their random parts that are not used yet, and the digits of the current millisecond."""

    def __init__(self) -> None:
        self.random_parts: list[str] = []
        self.millisecond = 0
        self.time_part = ""

    def draw(self) -> str:
        """The random part of one id. One system call draws those of many ids: each call releases the interpreter lock,
        and acquiring it again is expensive while other threads run."""
        drawn = os.urandom(_RANDOM_BYTES * _BATCH).hex()
        width = _RANDOM_BYTES * 2
        self.random_parts += [_random_part(drawn[start : start + width]) for start in range(0, len(drawn), width)]
        return self.random_parts.pop()


_ids = _Ids()


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    try:
        random_part = _ids.random_parts.pop()
    except IndexError:
        random_part = _ids.draw()
    millisecond = time.time_ns() // 1_000_000
    if millisecond != _ids.millisecond:
        digits = f"{millisecond:012x}"
        _ids.millisecond, _ids.time_part = millisecond, f"{digits[:8]}-{digits[8:]}-7"
    return _ids.time_part + random_part


def _random_part(digits: str) -> str:
    """What follows the version in an id: 12 random bits, the variant, and 62 more."""
    return f"{digits[1:4]}-{_VARIANT[digits[0]]}{digits[4:7]}-{digits[7:19]}"


def is_id(text: str) -> bool:
    """Whether the text has the form of an id from `new_id`."""
    return _FORM.fullmatch(text) is not None


def time_of(id_: str) -> float:
    """When an id from `new_id` was made, in Unix seconds."""
    return int(id_[:8] + id_[9:13], 16) / 1000


def id_at(moment: float) -> str:
    """The lowest id of a moment, given in Unix seconds: ids made earlier are not greater, and ids made later are not
    less."""
    digits = f"{min(max(int(moment * 1000), 0), _LATEST):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
