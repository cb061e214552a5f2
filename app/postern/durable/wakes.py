"""Wakes the runs that wait here when what they wait for has come to another server process."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import Any

import structlog

from postern.durable.waits import Waits
from postern.journal.signals import due_here
from postern.logs import Trouble

EVERY = 1.0
"""Seconds between two looks. There is none while no run waits here for a signal or an approval."""

log = structlog.get_logger("postern.durable")


class Wakes:
    """One look for all runs that wait in the server process `node`. `read` is the journal's."""

    def __init__(
        self,
        waits: Waits,
        read: Callable[[Callable[[Any], Any]], Awaitable[Any]],
        node: str,
        now: Callable[[], float] = time,
    ) -> None:
        self._waits = waits
        self._read = read
        self._node = node
        self._now = now

    async def run(self) -> None:
        """Look until cancelled. An error is logged, and followed by another look."""
        trouble = Trouble(log.error, "durable-runs-not-woken")
        while True:
            await asyncio.sleep(EVERY)
            with trouble.attempt():
                await self.look()

    async def look(self) -> None:
        """Wake the runs here for which something has come."""
        if self._waits.listening:
            for run_id in await self._read(partial(due_here, node=self._node, now=self._now())):
                self._waits.wake(run_id)
