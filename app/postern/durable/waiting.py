"""How many accepted runs wait to be started (POSTERN_DURABLE_WAITING)."""

from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

from postern.journal.durable_acceptance import waiting

FRESH = 1.0
FRESH_WHEN_FULL = 0.1
"""Seconds for which a count serves: one of all runs that wait would otherwise be part of each request. What other
server processes accept meanwhile may be too much by as much as that."""

Read = Callable[[Callable[[Any], Any]], Awaitable[Any]]


class Waiting:
    """Counts the runs that wait, of which there may be `most`. `read` is the journal's."""

    def __init__(self, read: Read, most: int, clock: Callable[[], float] = monotonic) -> None:
        self._read = read
        self._most = most
        self._clock = clock
        self._counted = 0
        self._counted_at = float("-inf")
        self._under_way = 0
        self._since = 0

    async def take(self) -> bool:
        """Take a place for a run that is about to be accepted, which has to `settle` it. False if there is none. Raises
        Problem if the journal cannot be read."""
        age = self._clock() - self._counted_at
        if age >= FRESH or (age >= FRESH_WHEN_FULL and self._is_full):
            self._counted_at, before = self._clock(), self._since
            self._counted = await self._read(partial(waiting, most=self._most))
            self._since -= before
        if self._is_full:
            return False
        self._under_way += 1
        return True

    def settle(self, *, accepted: bool) -> None:
        """The run whose place was taken waits now, or it does not."""
        self._under_way -= 1
        self._since += accepted

    @property
    def _is_full(self) -> bool:
        return self._counted + self._since + self._under_way >= self._most
