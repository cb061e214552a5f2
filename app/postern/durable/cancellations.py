"""Cancels durable runs of this server process, whichever process was asked to."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import Any

import structlog

from postern.durable.engine import DurableEngine
from postern.journal.durable_ends import Requested, cancel_ownerless, let_go_ended, requested
from postern.logs import Trouble

EVERY = 1.0
"""Seconds between two looks for runs that others want to have cancelled. There is none while nothing executes here."""
OWNERLESS_EVERY = 10
"""Each so many looks, runs are looked for whose server process was to cancel them, and has lost them."""
CANCEL_SECONDS = 5.0
"""How long a cancellation waits for the run to end."""

log = structlog.get_logger("postern.durable")
Journal = Callable[[Callable[[Any], Any]], Awaitable[Any]]


class Cancellations:
    """Cancellations of the runs that `engine` executes in the server process `node`. `ended` is called with the id of
    each run that this process has ended in the journal."""

    def __init__(
        self,
        engine: DurableEngine,
        node: str,
        read: Journal,
        write: Journal,
        ended: Callable[[str], object],
        now: Callable[[], float] = time,
    ) -> None:
        self._engine = engine
        self._node = node
        self._read = read
        self._write = write
        self._ended = ended
        self._now = now
        self._looks = 0

    async def run(self) -> None:
        """Look until cancelled. An error is logged, and followed by another look."""
        trouble = Trouble(log.error, "durable-runs-not-cancelled")
        while True:
            await asyncio.sleep(EVERY)
            with trouble.attempt():
                await self.look()

    async def look(self) -> None:
        """Cancel what was requested."""
        if self._engine.executions:
            await self._look_here()
        if self._looks % OWNERLESS_EVERY == 0:
            for run_id in await self._write(partial(cancel_ownerless, now=self._now())):
                self._ended(run_id)
        self._looks += 1

    async def _look_here(self) -> None:
        found: list[Requested] = await self._read(partial(requested, node=self._node))
        for each in found:
            self._engine.cancel(each.run_id, each.by, ended=each.ended)
        if gone := [each.run_id for each in found if each.ended]:
            await self._write(partial(let_go_ended, node=self._node, run_ids=gone))

    async def cancel(self, run_id: str, by: str, *, ended: bool) -> None:
        """Cancel a run, if it is here, for a caller (see `journal.run.actor`): it leaves the memory if it was `ended`
        in the journal. Otherwise this returns when its end is recorded, or after CANCEL_SECONDS."""
        task = self._engine.cancel(run_id, by, ended=ended)
        if ended:
            await self._write(partial(let_go_ended, node=self._node, run_ids=[run_id]))
        elif task is not None:
            await asyncio.wait([task], timeout=CANCEL_SECONDS)
