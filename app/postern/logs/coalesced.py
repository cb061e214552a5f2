"""One log line for many events of a kind, for what clients can cause as often as they like."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from threading import Lock
from time import monotonic
from typing import Any

SECONDS = 10.0
"""How often there is a line at most."""


class Coalesced:
    """Writes the first event at once. The others of the next SECONDS share one line, with their number in `times` and
    the fields of the last. Call it in the thread of one event loop, or in any threads where no loop runs."""

    def __init__(self, event: str, *, seconds: float = SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._event = event
        self._seconds = seconds
        self._clock = clock
        self._quiet_until = float("-inf")
        self._held = 0
        self._lock = Lock()
        self._write_last: Callable[[], object] = lambda: None

    def add(self, write: Callable[..., object], **fields: Any) -> None:
        """Add an event; `write` is the method of a logger."""
        now = self._clock()
        with self._lock:
            due = now >= self._quiet_until
            held = self._held + 1
            if due:
                self._quiet_until, self._held = now + self._seconds, 0
            else:
                self._held = held
                self._write_last = lambda: write(self._event, **fields, times=self._held)
        if due:
            write(self._event, **fields, times=held)
        elif held == 1:
            with suppress(RuntimeError):  # no loop runs: the next event has the number
                loop = asyncio.get_running_loop()
                loop.call_later(self._quiet_until - now, self.write, context=Context())

    def write(self) -> None:
        """Write the line of the events that wait, if there are any."""
        if self._held:
            self._write_last()
            self._held = 0
            self._quiet_until = self._clock() + self._seconds
