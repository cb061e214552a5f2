"""How many threads a workflow may use at once while it shares the interpreter with the event loop. Pure.

Python code runs in one thread at a time. Threads that wait cost nothing, but each one that computes delays the event
loop, and a C function that does not release the interpreter delays it by all of its time. So a workflow begins with few
threads, gets more of them as long as the event loop is on time, and fewer when it is late."""

from collections.abc import Mapping

FIRST = 4
"""Threads that a workflow begins with."""
LATE = 0.05
"""Seconds by which the event loop may be late."""
FORGOTTEN_AFTER = 100
"""Looks at an idle workflow after which it begins again with FIRST."""


class Pace:
    """The limits of workflows, of at most `share` threads. `look` is called again and again."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._limits: dict[str, int] = {}
        self._idle: dict[str, int] = {}

    @property
    def has_limits(self) -> bool:
        """Whether any workflow has another limit than FIRST."""
        return bool(self._limits)

    def limit(self, name: str) -> int:
        """How many threads the workflow may use at once."""
        return min(self._limits.get(name, FIRST), self._share)

    def look(self, late: float, busy: Mapping[str, int], waiting: Mapping[str, int]) -> str:
        """Adapt the limits to an event loop that is so many seconds late. Returns the workflow that gets fewer threads
        by it, "" if none does."""
        self._forget(busy)
        if late > LATE:
            return self._slow_down(late, busy)
        for name in waiting:
            if (limit := self.limit(name)) < self._share:
                self._limits[name] = min(2 * limit, self._share)
        return ""

    def _slow_down(self, late: float, busy: Mapping[str, int]) -> str:
        """Fewer threads for the workflow that holds most of them."""
        name = max(busy, key=lambda name: busy[name], default="")
        if busy.get(name, 0) < 2:
            return ""
        self._limits[name] = max(1, int(min(self.limit(name), busy[name]) * LATE / late))
        return name

    def _forget(self, busy: Mapping[str, int]) -> None:
        for name in list(self._limits):
            self._idle[name] = 0 if name in busy else self._idle.get(name, 0) + 1
            if self._idle[name] >= FORGOTTEN_AFTER:
                del self._limits[name], self._idle[name]
