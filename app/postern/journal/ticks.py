"""Calls a function at regular intervals while something needs it. A server that has nothing to do does not wake."""

import asyncio
from collections.abc import Callable
from contextvars import Context


class Ticks:
    """Between `start` and `stop`, `function` is called every `seconds` after `need`, until it returns that nothing
    needs it any more. It belongs to one event loop."""

    def __init__(self, seconds: float, function: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._function = function
        self.timer: asyncio.TimerHandle | None = None
        """The next call; None if nothing needs it."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Call the function from now on, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.need()

    def stop(self) -> None:
        """Do not call it any more."""
        self._loop = None
        if self.timer is not None:
            self.timer.cancel()

    def need(self) -> None:
        """Something waits for the function. A request may say so: the calls are not in its context."""
        if self.timer is None and self._loop is not None:
            self.timer = self._loop.call_later(self._seconds, self._tick, context=Context())

    def _tick(self) -> None:
        self.timer, needed = None, True
        try:
            needed = self._function()
        finally:  # an error ends none of the further calls
            if needed:
                self.need()
