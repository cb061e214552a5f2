"""An axis of time from left (0) to right (1), for the timeline of a run and the chain of its calls. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor

from postern.console.words import duration

DAY = 86_400.0
STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, DAY),
)
"""Distances between two ticks, in seconds. Above the last one they are doubled."""
MOST_TICKS = 6
"""About so many ticks are on an axis."""
MOST_CUTS = 3
CUT = 0.07
"""The width of a stretch that is cut out."""
FREE = 0.06
"""How far ticks are from the middle of a cut, which says how long it is."""
LONG = 4
"""A stretch is cut out if it is this many times as long as all that is not cut out."""
WORTH = 1.0
"""Seconds that a stretch has at least to be cut out: of a run that took no longer, the picture is true as it is."""
SHORTEST = 0.001
"""Seconds that an axis has at least."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Time in Unix seconds from `begin` to `end`. `cuts` are long stretches in which nothing begins or ends: they are
    shown with the width CUT, however long they are."""

    begin: float
    end: float
    cuts: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, moments: Iterable[float]) -> "Axis":
        """The axis on which all these moments are: what began or ended then."""
        points = sorted(set(moments)) or [0.0]
        begin, end = points[0], max(points[-1], points[0] + SHORTEST)
        return cls(begin, end, tuple(sorted(_cuts(points))))

    @property
    def shown(self) -> float:
        """Seconds that are not cut out."""
        return max(self.end - self.begin - sum(end - begin for begin, end in self.cuts), SHORTEST)

    def x(self, moment: float) -> float:
        """Where a moment is, from 0 to 1. What is earlier or later than the axis is at its ends: clocks of machines
        differ."""
        scale = (1 - CUT * len(self.cuts)) / self.shown
        at, left = self.begin, 0.0
        for begin, end in self.cuts:
            if moment <= begin:
                break
            left += (begin - at) * scale
            if moment < end:
                return _inside(left + CUT * (moment - begin) / (end - begin))
            left, at = left + CUT, end
        return _inside(left + max(moment - at, 0.0) * scale)

    def ticks(self) -> list[tuple[float, str]]:
        """Where the ticks are, in order, and the time since the begin that each of them stands for."""
        step = _step(self.shown / MOST_TICKS)
        middles = [(self.x(begin) + self.x(end)) / 2 for begin, end in self.cuts]
        found: list[tuple[float, str]] = []
        for begin, end in self._parts():
            for number in range(ceil((begin - self.begin) / step), floor((end - self.begin) / step) + 1):
                x = self.x(self.begin + number * step)
                apart = not found or (x - found[-1][0] >= 0.05 and all(abs(x - each) >= FREE for each in middles))
                if x < 0.96 and apart:
                    found.append((x, elapsed(number * step, step)))
        return found

    def _parts(self) -> Iterator[tuple[float, float]]:
        """What is between the cuts."""
        at = self.begin
        for begin, end in self.cuts:
            yield at, begin
            at = end
        yield at, self.end


def elapsed(seconds: float, step: float) -> str:
    """A time since the begin, as exact as ticks `step` seconds apart need it: `40 ms`, `5 s`, `2:30`, `2:03:35`."""
    if seconds <= 0:
        return "0"
    if seconds < 60:
        return f"{seconds:g} s" if step >= 0.1 else duration(seconds) if seconds < 1 else f"{seconds:.3f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if not hours:
        return f"{minutes}:{left:02}"
    return f"{hours}:{minutes:02}:{left:02}" if step < 60 else f"{hours}:{minutes:02} h"


def _cuts(points: list[float]) -> list[tuple[float, float]]:
    """The longest stretches, as many as are LONG. Their ends stay, so that one sees where they begin."""
    gaps = sorted(((end - begin, begin, end) for begin, end in pairwise(points)), reverse=True)
    for many in range(min(MOST_CUTS, len(gaps) - 1), 0, -1):
        rest = sum(gap for gap, _, _ in gaps[many:])
        if rest >= SHORTEST and gaps[many - 1][0] >= max(LONG * rest, WORTH):
            edge = rest * 0.04
            return [(begin + edge, end - edge) for _, begin, end in gaps[:many]]
    return []


def _step(least: float) -> float:
    for step in STEPS:
        if step >= least:
            return step
    step = DAY
    while step < least:
        step *= 2
    return step


def _inside(x: float) -> float:
    return min(max(x, 0.0), 1.0)
