"""Times, durations and numbers as words. Pure. Times are UTC, because records are."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from postern.journal.run import State

THIN = "\N{NARROW NO-BREAK SPACE}"


def duration(seconds: float | None) -> str:
    """How long something took, as exact as a person needs it: `12 ms`, `41.9 s`, `3 min 5 s`, `2 h 14 min`."""
    if seconds is None:
        return "\N{EN DASH}"
    milliseconds = round(max(seconds, 0.0) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds} ms" if milliseconds else "<1 ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return _two(*divmod(round(seconds), 60), "min", "s")
    return _two(*divmod(round(seconds / 60), 60), "h", "min")


def count(number: int) -> str:
    """A number with its thousands apart: `1 204`."""
    return f"{number:,}".replace(",", THIN)


def iso(moment: float) -> str:
    """Unix seconds as an RFC 3339 time, for `<time datetime>`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(moment: float) -> str:
    """Unix seconds as a day and a time: `28 Nov 2026 22:56:30`."""
    at = datetime.fromtimestamp(moment, UTC)
    return f"{at.day} {at:%b %Y %H:%M:%S}"


def day_words(moment: float) -> str:
    """Unix seconds as a day: `Saturday, 28 November 2026`."""
    at = datetime.fromtimestamp(moment, UTC)
    return f"{at:%A}, {at.day} {at:%B %Y}"


def time_words(moment: float) -> str:
    """Unix seconds as a time of the day: `22:56:30`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")


def clock(moment: float) -> str:
    """Unix seconds as a time of the day: `22:56`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M")


def state_words(name: str) -> str:
    """The state of a run: `Timed out`."""
    return "Timed out" if name == State.TIMED_OUT else name


def _two(large: int, small: int, of_large: str, of_small: str) -> str:
    return f"{large} {of_large} {small} {of_small}" if small else f"{large} {of_large}"


class OfDay(Protocol):
    """A row of a list, a dataclass with its day in words."""

    @property
    def day(self) -> str: ...


R = TypeVar("R", bound=OfDay)


def first_of_each_day(rows: Iterable[R]) -> list[R]:
    """The rows of a list: the first of each day has the day, the others have none."""
    shown: list[R] = []
    before = ""
    for row in rows:
        shown.append(row if row.day != before else replace(row, day=""))  # type: ignore[type-var]  # see OfDay
        before = row.day
    return shown
