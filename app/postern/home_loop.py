"""The event loop of the server. What it shares belongs to that loop: connections, tokens, timers. A `def` workflow
may run a loop of its own in its thread (`asyncio.run`), so calls of shared things go home first."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class HomeLoop:
    """The event loop that shared things belong to. Until it is settled, every loop is at home."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def settle(self) -> None:
        """The running loop is home from now on."""
        self._loop = asyncio.get_running_loop()

    @property
    def is_here(self) -> bool:
        """Whether the running loop is home."""
        return self._loop is None or asyncio.get_running_loop() is self._loop

    def soon(self, note: Callable[[], object]) -> None:
        """Call this at home: now, or soon if another loop runs here. It comes before the end of the thread there."""
        if self._loop is None or self.is_here:
            note()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(note)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work, done in the home loop, in the current context. A cancellation reaches it there."""
        if self._loop is None or self.is_here:
            return await work
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the server has stopped")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
