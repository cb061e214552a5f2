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
    loop = asyncio.get_running_loop()
    time = clock or loop.time
    tick = seconds / PARTS
    async with asyncio.timeout(None) as limit:
        left, last = seconds, time()
        handle: asyncio.TimerHandle | None = None

        def passed() -> None:
            nonlocal left, last, handle
            now = time()
            left, last = left - min(now - last, 2 * tick), now
            if left <= 0:
                limit.reschedule(loop.time())
            else:
                handle = loop.call_later(tick, passed)

        handle = loop.call_later(tick, passed)
        try:
            yield
        finally:
            handle.cancel()
