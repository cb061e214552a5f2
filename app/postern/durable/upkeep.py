"""Takes over the durable runs of server processes that are gone, and counts what durable runs there are."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from time import time
from typing import Any

import structlog
from sqlalchemy import Connection

from postern.journal.durable_limits import waiting_by_workflow
from postern.journal.durable_upkeep import FRESH, SILENCE, Reaped, counts, owners, reap, take_up_again
from postern.journal.process_identity import lives
from postern.journal.server_processes import NO_ROW, Seen, ServerProcess, gone, watch

BEAT_EVERY = 2.0
"""Seconds between two beats of a server process that has the durable engine."""
LOOK_EVERY = 10.0
"""Seconds between two looks for owners that have no row, and for runs that read Interrupted."""
COUNT_EVERY = 15.0

log = structlog.get_logger("postern.durable")

Transaction = Callable[[Callable[[Connection], Any]], Awaitable[Any]]


class Upkeep:
    """The takeovers by the server process `own`. `ready` is called when runs can be claimed, `returned` when this
    process could not beat for so long that others may have taken its runs over."""

    def __init__(
        self,
        own: ServerProcess,
        read: Transaction,
        write: Transaction,
        ready: Callable[[], object],
        returned: Callable[[], Awaitable[object]],
        now: Callable[[], float] = time,
        alive: Callable[[str], bool] = lives,
    ) -> None:
        self.takeovers = 0
        self.phases: dict[str, int] = {}
        self.waiting_for_key: dict[str, int] = {}
        self._own = own
        self._read = read
        self._write = write
        self._ready = ready
        self._returned = returned
        self._now = now
        self._alive = alive
        self._seen: dict[str, Seen] = {}
        self._rowless: list[ServerProcess] = []
        self._known: dict[str, ServerProcess] = {}
        self._looked_at = self._sought_at = self._counted_at = float("-inf")

    async def look(self, found: list[ServerProcess], now: float) -> None:
        """Take over the runs of processes that are gone. `found` are the processes, `now` is of the clock by which
        their beats are watched."""
        gap, self._looked_at = now - self._looked_at, now
        if gap > SILENCE / 2:  # no process could beat while the journal was unavailable
            self._seen = {}
        if gap > FRESH:
            await self._returned()
            self._ready()
        registered = {each.id: each for each in found if each.beat != NO_ROW}
        if now - self._sought_at >= LOOK_EVERY or self._known.keys() - registered.keys():
            await self._seek(registered)
            self._sought_at = now
        self._known |= registered
        if now - self._counted_at >= COUNT_EVERY:
            self.phases = await self._read(counts)
            self.waiting_for_key = await self._read(waiting_by_workflow)
            self._counted_at = now
        watched = [*registered.values(), *(each for each in self._rowless if each.id not in registered)]
        self._seen = watch(watched, self._seen, now)
        lost = gone(watched, self._seen, now, self._own, self._alive, SILENCE)
        for each in watched:
            if each.id in lost:
                await self._take_over(each)

    async def _seek(self, registered: dict[str, ServerProcess]) -> None:
        """Look for what a process of the release before has done, which knows no durable runs: it deletes the row of
        one that is gone. Which process that was is known here, so its end is noticed as fast as with its row."""
        rowless: list[ServerProcess] = await self._read(owners)
        self._rowless = [replace(self._known.get(each.id, each), beat=NO_ROW) for each in rowless]
        self._known = registered | {each.id: each for each in self._rowless}
        again = await self._write(take_up_again)
        if again:
            log.warning("durable-runs-taken-up-again", runs=again)

    async def _take_over(self, lost: ServerProcess) -> None:
        reaped: Reaped = await self._write(partial(reap, node=lost.id, seen=lost.beat, now=self._now()))
        if not reaped:
            return
        self.takeovers += reaped.ready + len(reaped.failed)
        log.warning("durable-runs-taken-over", node=lost.id, runs=reaped.ready, waiting=reaped.wait)
        for run_id in reaped.failed:
            log.error("run-ended", run_id=run_id, state="Failed", error="too-many-crashes")
        self._ready()
