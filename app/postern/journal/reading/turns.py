"""Whose read is next: callers of the run API share the readers, and the server's own reads always find one free. It
belongs to one event loop."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postern.journal.shares import ANONYMOUS, EVERYBODY, Holder


class Turns:
    """Lets callers read, at most `most` reads at a time. One caller with a token, and all anonymous callers together,
    have at most `share` of these, and one address has one. Callers who wait get their turns one after the other."""

    def __init__(self, most: int, share: int) -> None:
        self._most = most
        self._share = share
        self._reading: Counter[Holder] = Counter()
        self._total = 0
        self._waiting: dict[Holder, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, who: Holder) -> AsyncIterator[None]:
        """Wait for this caller's turn, and have it while the block runs."""
        if who in self._waiting or not self._is_free(who):
            future = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(who, deque()).append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._end(who)  # its turn had begun
                raise
        else:
            self._begin(who)
        try:
            yield
        finally:
            self._end(who)

    def _is_free(self, who: Holder) -> bool:
        if self._total >= self._most:
            return False
        if who[0] == ANONYMOUS:
            return not self._reading[who] and self._reading[EVERYBODY] < self._share
        return self._reading[who] < self._share

    def _begin(self, who: Holder) -> None:
        self._count(who, 1)

    def _end(self, who: Holder) -> None:
        self._count(who, -1)
        for each in list(self._waiting):
            waiting = self._waiting[each]
            while waiting and waiting[0].done():  # it was cancelled
                waiting.popleft()
            if waiting and not self._is_free(each):
                continue
            del self._waiting[each]
            if waiting:
                self._begin(each)
                waiting.popleft().set_result(None)
                if waiting:
                    self._waiting[each] = waiting  # behind the others

    def _count(self, who: Holder, by: int) -> None:
        self._total += by
        for each in {who, EVERYBODY} if who[0] == ANONYMOUS else {who}:
            self._reading[each] += by
            if not self._reading[each]:
                del self._reading[each]
