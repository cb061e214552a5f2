"""A limit of time that does not count a stop of the whole process.

A process may be frozen (SIGSTOP, a paused virtual machine) after it has sent a refresh token. When it goes on, the
response is there to be read. An ordinary timeout would fire first, and the only copy of the new tokens would be lost.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PARTS = 20
"""Parts into which the limit is divided. A tick of one part counts as two at most, however late it comes."""


@asynccontextmanager
async def awake_timeout(seconds: float, clock: Callable[[], float] | None = None) -> AsyncIterator[None]:
    """As `asyncio.timeout`: raises TimeoutError after so many seconds in which the event loop ran. `clock` is that of
    the loop unless given."""
    tick = _Ticks(seconds, clock or asyncio.get_running_loop().time)
    try:
        async with tick.limit:
            tick.next()
            yield
    finally:
        tick.end()


class _Ticks:
    """Looks at the clock again and again, and lets the limit expire."""

    def __init__(self, seconds: float, time: Callable[[], float]) -> None:
        self.limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._time, self._part = time, seconds / PARTS
        self._left, self._last = seconds, time()

    def next(self) -> None:
        """Look again after one part."""
        self._handle = self._loop.call_later(self._part, self._look)

    def end(self) -> None:
        """Stop. The limit has the task, whose error has the frames that have this object."""
        self._handle.cancel()
        del self.limit

    def _look(self) -> None:
        now = self._time()
        self._left, self._last = self._left - min(now - self._last, 2 * self._part), now
        if self._left <= 0:
            self.limit.reschedule(self._loop.time())
        else:
            self.next()
