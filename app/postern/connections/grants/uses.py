"""Notes which grants are used, in few writes: a day is exact enough for what it decides."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from postern.connections.grants.attempts import Write
from postern.errors import Problem
from postern.journal.grants import note_use

NOTED_EVERY = 600.0
"""Seconds between two writes of the use of one grant."""
FLUSHED_EVERY = 10.0
MOST_NOTED = 10_000


class Uses:
    """Uses of grants, by name and owner."""

    def __init__(self, write: Write, now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._written: dict[tuple[str, str], float] = {}
        self._pending: set[tuple[str, str]] = set()

    def note(self, key: tuple[str, str]) -> None:
        """A run uses the grant. It costs a look into a table."""
        if key not in self._pending and self._written.get(key, 0.0) < self._now() - NOTED_EVERY:
            self._pending.add(key)

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Write what was noted, again and again, until cancelled."""
        while True:
            await sleep(FLUSHED_EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted. What the journal does not take now is written with the next use."""
        pending, self._pending = self._pending, set()
        if len(self._written) > MOST_NOTED:
            self._written.clear()
        with suppress(Problem):
            for name, owner in sorted(pending):
                now = self._now()
                await self._write(partial(note_use, name=name, owner=owner, now=now))
                self._written[name, owner] = now
