"""Large bodies are read one at a time, and as long as one takes, the next one waits: other requests have half of the
event loop's time. pydantic holds the interpreter while it validates, so a thread of its own would not help them.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from time import monotonic, sleep
from typing import TypeVar

LARGE = 4096
"""Bytes of a body that takes a turn. A smaller one is read in well below a millisecond."""

T = TypeVar("T")


class LargeBodies:
    """The turns of large bodies. It belongs to one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._turn_of_threads = threading.Lock()

    async def read(self, read: Callable[[], T]) -> T:
        """Read a body in its turn. What came in meanwhile is done before this returns."""
        await self._turn.acquire()
        began = monotonic()
        try:
            return read()
        finally:
            asyncio.get_running_loop().call_later(monotonic() - began, self._turn.release, context=Context())
            await asyncio.sleep(0)

    def in_thread(self, read: Callable[[], T]) -> Callable[[], T]:
        """The same for a body that is read in a thread, which waits there."""

        def in_turn() -> T:
            with self._turn_of_threads:
                began = monotonic()
                try:
                    return read()
                finally:
                    sleep(monotonic() - began)

        return in_turn
