"""Ids of runs and requests: ordered by time and impossible to guess."""

import os
import re
import time

_RANDOM_BYTES = 8
_BATCH = 256
_MILLISECOND = 1_000_000  # in nanoseconds
_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LATEST = 2**48 - 1
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Ids:
    """State between two ids: their random parts that are not used yet, and the digits of the current millisecond."""

    def __init__(self) -> None:
        self.random_parts: list[str] = []
        self.millisecond = -1
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
    """A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 12 bits that divide the millisecond
    (section 6.2, method 3), so that runs of one millisecond are listed in their order too, then 62 random bits."""
    try:
        random_part = _ids.random_parts.pop()
    except IndexError:
        random_part = _ids.draw()
    millisecond, rest = divmod(time.time_ns(), _MILLISECOND)
    if millisecond != _ids.millisecond:
        digits = f"{millisecond:012x}"
        _ids.millisecond, _ids.time_part = millisecond, f"{digits[:8]}-{digits[8:]}-7"
    return f"{_ids.time_part}{(rest << 12) // _MILLISECOND:03x}{random_part}"


def _random_part(digits: str) -> str:
    """What follows the time in an id: the variant and 62 random bits."""
    return f"-{_VARIANT[digits[0]]}{digits[1:4]}-{digits[4:]}"


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
