"""Counting values by size: plain numbers, counted in place and read on request."""

from bisect import bisect_left
from collections.abc import Sequence

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Bounds for the writes of one commit."""

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Bounds for durations, up to the default timeout of a run."""


class Histogram:
    """`counts[n]` values were at most `bounds[n]` and more than the bound before. The last count is of the values above
    all bounds. `total` is the sum of all values. One thread observes at a time."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        if not self.bounds or any(low >= high for low, high in zip(self.bounds, self.bounds[1:], strict=False)):
            raise ValueError("the bounds of a histogram must be in ascending order")
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> "Histogram":
        """What was counted up to now."""
        made = Histogram.__new__(Histogram)
        made.bounds, made.counts, made.total = self.bounds, self.counts[:], self.total
        return made

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)


class Batches:
    """What the journal counts at each commit: how many writes it had, and how many seconds it took."""

    __slots__ = ("seconds", "sizes")

    def __init__(self) -> None:
        self.sizes = Histogram(BATCH_SIZES)
        self.seconds = Histogram(SECONDS)
