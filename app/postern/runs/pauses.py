"""The time in which a debugger holds code of an author: no timeout counts it, and nobody takes the server for blocked.

There is one debugger for a process, so this is the state of the process. Only `postern dev` ever has one.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

DEBUGGERS = ("debugpy", "pydevd")
"""Modules of debuggers that IDEs attach. They do not report when they hold code, so runs have no timeout while one of
them is loaded."""


class Pauses:
    """Who asks whether a debugger holds code, and for how long it did. `seconds` grows when it lets code go on. With
    `follows`, a debugger of an IDE counts too. `leave` ends the process at once for a Ctrl-C in a terminal, while the
    debugger waits in another thread than the main one."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.seconds = 0.0
        self.follows = False
        self.leave: Callable[[], object] | None = None
        self._clock = clock
        self._open = 0
        self._lock = Lock()

    @property
    def held(self) -> bool:
        """Whether code is held, or may be."""
        return self._open > 0 or (self.follows and any(name in sys.modules for name in DEBUGGERS))

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A debugger holds code meanwhile."""
        began = self._clock()
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self.seconds += self._clock() - began
                self._open -= 1


PAUSES = Pauses()
