"""How many accepted runs wait to be started (POSTERN_DURABLE_WAITING), and how they are divided among callers."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

from postern.journal.durable_acceptance import Ready, waiting
from postern.journal.shares import ANONYMOUS, EVERYBODY, Holder, has_room

FRESH = 1.0
FRESH_WHEN_FULL = 0.1
"""Seconds for which a count serves: one of all runs that wait would otherwise be part of each request. What other
server processes accept meanwhile may be too much by as much as that."""

LEAST = 100
"""If fewer may wait, they are not divided: a share would be too small to use."""

Read = Callable[[Callable[[Any], Any]], Awaitable[Any]]


class Waiting:
    """Counts the runs that wait, of which there may be `most`. A caller may have no more of them than are left, so that
    one alone gets half, as `shares.has_room` says. `read` is the journal's."""

    def __init__(self, read: Read, most: int, clock: Callable[[], float] = monotonic) -> None:
        self._read = read
        self._most = most
        self._clock = clock
        self._counted = Ready(0, {})
        self._counted_at = self._divided_at = float("-inf")
        self._under_way: Counter[Holder] = Counter()
        self._since: Counter[Holder] = Counter()
        self._own = 0  # of both

    async def take(self, who: Holder) -> bool:
        """Take a place for a run of this caller that is about to be accepted, which has to `settle` it. False if there
        is none. Raises Problem if the journal cannot be read."""
        age = self._clock() - self._counted_at
        if age >= FRESH or (age >= FRESH_WHEN_FULL and not self._admits(who)):
            await self._count()
        if not self._admits(who):
            return False
        self._under_way[who] += 1
        self._own += 1
        return True

    def settle(self, who: Holder, *, accepted: bool) -> None:
        """The run whose place was taken waits now, or it does not."""
        self._under_way[who] -= 1
        if not self._under_way[who]:
            del self._under_way[who]
        if accepted:
            self._since[who] += 1
        else:
            self._own -= 1

    async def _count(self) -> None:
        """Count what waits, and by whose callers if that is a lot, at most once in FRESH."""
        now, before = self._clock(), self._since.copy()
        divides = self._most >= LEAST and now - self._divided_at >= FRESH
        self._counted_at, held = now, Counter(self._counted.held)
        found: Ready = await self._read(partial(waiting, most=self._most, divides=divides))
        if divides:
            self._divided_at = now
        else:  # what was accepted here since then is in the sum, and not in the shares
            found = Ready(found.total, held + before + Counter({EVERYBODY: _anonymous(before)}))
        self._since -= before
        self._own -= before.total()
        self._counted = found

    def _admits(self, who: Holder) -> bool:
        queued = self._counted.total + self._own
        if self._most < LEAST:
            return queued < self._most
        if queued <= self._most // 4:  # the usual case, in which everybody has room
            return True
        together = None
        if who[0] == ANONYMOUS:
            together = self._counted.held.get(EVERYBODY, 0) + _anonymous(self._since) + _anonymous(self._under_way)
        held = self._counted.held.get(who, 0) + self._since[who] + self._under_way[who]
        return has_room(held, together, queued, self._most)


def _anonymous(counter: Counter[Holder]) -> int:
    return sum(count for who, count in counter.items() if who[0] == ANONYMOUS)
