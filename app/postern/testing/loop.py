"""The event loop of the application: its timers follow the clock of the test."""

import asyncio


class TestLoop(asyncio.SelectorEventLoop):
    """A loop whose time can be moved ahead: all timers that are due by then are called at once."""

    __test__ = False  # pytest collects no tests of it

    _ahead = 0.0

    def time(self) -> float:
        """Seconds of a monotonic clock."""
        return super().time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the time ahead. Call it in the loop's thread."""
        self._ahead += seconds
