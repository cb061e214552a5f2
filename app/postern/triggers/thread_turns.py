"""Turns of threads that compute with the interpreter held, as validation of a large body does."""

from collections.abc import Callable
from threading import Condition, get_ident
from time import monotonic, thread_time
from typing import TypeVar

from postern.runs.blocked_loop import processor_time

LOOK_SECONDS = 0.05
"""Between two looks at the thread whose turn it is."""

WAITS = 0.1
"""The part of its time below which a thread does not compute, but waits for something: code of an author may."""

PATIENCE = 10.0
"""Seconds after which a thread goes on without a turn, where the time of other threads cannot be read (macOS)."""

T = TypeVar("T")


class ThreadTurns:
    """One thread at a time computes, and as long as it has computed, the next one waits. A thread that waits for
    something loses its turn to the next: it may wait for ever."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._holder: int | None = None
        self._rests_until = 0.0

    def call(self, function: Callable[[], T]) -> T:
        """Call the function in a turn of this thread."""
        self._take()
        used = thread_time()
        try:
            return function()
        finally:
            self._give_back(thread_time() - used)

    def _take(self) -> None:
        until = monotonic() + PATIENCE
        with self._changed:
            while not self._is_free() and monotonic() < until:
                pass
            self._holder = get_ident()

    def _is_free(self) -> bool:
        """Whether the turn may be taken, after a wait if it may not."""
        holder = self._holder
        if holder is None:
            if (rest := self._rests_until - monotonic()) <= 0:
                return True
            self._changed.wait(rest)
            return False
        used = processor_time(holder)  # it has not given its turn back, so that it is alive
        if self._changed.wait(LOOK_SECONDS) or self._holder != holder:
            return False
        return processor_time(holder) - used < WAITS * LOOK_SECONDS

    def _give_back(self, used: float) -> None:
        with self._changed:
            if self._holder == get_ident():  # else another thread has taken it
                self._holder = None
                self._rests_until = monotonic() + used
            self._changed.notify()
