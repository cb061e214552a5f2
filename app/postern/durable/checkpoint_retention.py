"""Deletes checkpoints that are of no use any more. DBOS deletes none by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import uniform
from time import time
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection

from postern.journal.durable_retention import delete_lone, discarded, to_discard, unknown

BATCH = 500
EVERY = 60.0
"""Seconds between two rounds."""
KEPT = 600.0
"""Seconds for which the checkpoints of a run that has succeeded are kept: its dispatcher returns to DBOS meanwhile, and
a backup whose journal does not have the outcome yet copies them a little later."""
PAUSE = 0.1
"""Seconds between two batches."""
ROUNDS = 60
"""After so many rounds all checkpoints are looked through: for those of runs that are deleted."""

log = structlog.get_logger("postern.durable")

Transaction = Callable[[Callable[[Connection], Any]], Awaitable[Any]]


class Store(Protocol):
    """The store of checkpoints."""

    @property
    def runs(self) -> bool:
        """Whether it can be used."""

    async def delete(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs."""

    async def known(self, offset: int, most: int) -> list[str]:
        """The ids of runs that have checkpoints, the oldest first, from one place on."""


class CheckpointRetention:
    """The checkpoints of runs that have succeeded are deleted soon: their outcomes are in the journal. Those of other
    runs are deleted when their records are: such a run can be resumed. Several server processes may do it at once."""

    def __init__(
        self,
        store: Store,
        read: Transaction,
        write: Transaction,
        now: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._read = read
        self._write = write
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        """Delete each minute, until cancelled. An error is logged, and the next round does what is left."""
        rounds = 0
        while True:
            await self._sleep(EVERY * uniform(0.9, 1.1))  # noqa: S311 so that server processes do not all do it at once
            rounds += 1
            try:
                if self._store.runs:
                    await self.discard()
                    if rounds % ROUNDS == 0:
                        await self.delete_unknown()
            except Exception as error:
                log.error("checkpoints-not-deleted", cause=type(error).__name__)  # noqa: TRY400 its text may hold a password

    async def discard(self) -> int:
        """Delete the checkpoints of runs that have succeeded. Returns of how many."""
        total = 0
        while True:
            ids = await self._read(partial(to_discard, before=self._now() - KEPT, limit=BATCH))
            if ids:
                await self._store.delete(ids)
                await self._write(partial(discarded, ids=ids))
            total += len(ids)
            if len(ids) < BATCH:
                return total
            await self._sleep(PAUSE)

    async def delete_unknown(self) -> int:
        """Delete checkpoints of runs that the journal does not have: a run is in the journal before it has any. Returns
        of how many."""
        while await self._write(partial(delete_lone, limit=BATCH)) == BATCH:
            await self._sleep(PAUSE)
        total = place = 0
        while True:
            ids = await self._store.known(place, BATCH)
            gone = await self._read(partial(unknown, ids=ids)) if ids else []
            if gone:
                await self._store.delete(gone)
            total += len(gone)
            if len(ids) < BATCH:
                return total
            place += BATCH - len(gone)
            await self._sleep(PAUSE)
