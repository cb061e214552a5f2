"""Waits for the ends of runs, for callers that prefer to wait (`Prefer: wait=N`, RFC 7240)."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from postern.journal.reading.durable import ended_of
from postern.journal.shares import Allotment, Holder
from postern.logs import Trouble

MOST_SECONDS = 60.0
"""The longest wait: longer ones are cut by proxies, and hold a connection."""
MOST_WAITING = 1000
"""Requests that wait at the same time. A caller may have as many as are free, and all anonymous callers half."""
EVERY = 1.0
"""Seconds between two looks for runs that have ended in other server processes: one for all requests that wait."""

log = structlog.get_logger("postern.api")


class ResultWait:
    """The requests of this server process that wait. `read` is the journal's."""

    def __init__(
        self, read: Callable[[Callable[[Any], Any]], Awaitable[Any]], most: int = MOST_WAITING, every: float = EVERY
    ) -> None:
        self._read = read
        self._every = every
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._shares = Allotment(most)
        self._begun = asyncio.Event()

    def ended(self, run_id: str) -> None:
        """A run has ended, and its end is recorded."""
        for waiting in self._waiting.get(run_id, ()):
            if not waiting.done():
                waiting.set_result(None)

    async def until_ended(self, run_id: str, seconds: float, who: Holder) -> bool:
        """Wait until the run has ended, so many seconds at most. Returns whether this waited: it does not if too many
        requests wait already. A request that is cancelled waits no longer."""
        if seconds <= 0 or not self._shares.admits(who):
            return False
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, set()).add(ended)
        self._shares.take(who)
        self._begun.set()
        try:
            if not await self._read(partial(ended_of, run_ids=[run_id])):  # it may have ended just before
                await asyncio.wait([ended], timeout=seconds)
        finally:
            self._shares.take(who, -1)
            self._waiting[run_id].discard(ended)
            if not self._waiting[run_id]:
                del self._waiting[run_id]
        return True

    async def run(self) -> None:
        """Look until cancelled, while requests wait. An error is logged, and followed by another look."""
        trouble = Trouble(log.error, "run-ends-not-read")
        while True:
            if not self._waiting:
                self._begun.clear()
                await self._begun.wait()
            with trouble.attempt():
                await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Look once for all requests that wait."""
        for run_id in await self._read(partial(ended_of, run_ids=list(self._waiting))):
            self.ended(run_id)
