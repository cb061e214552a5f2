"""Records durable runs again whose records a process of release 0.1 has deleted before their end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable.payload import payload_of, run_of
from postern.durable.seals import Seals
from postern.journal.durable_records import WithoutRecord, record_again, without_record
from postern.journal.writing.rows import facts
from postern.logs import Trouble

EVERY = 60.0
"""Seconds between two looks."""

log = structlog.get_logger("postern.durable")

Transaction = Callable[[Callable[[Connection], Any]], Awaitable[Any]]


class LostRecords:
    """Looks for runs without a record. Without one, neither the caller finds the run nor a person its approval. What
    is recorded again is made of the request that is kept. It waits while the workflow or the key is not there."""

    def __init__(
        self, read: Transaction, write: Transaction, triggers: Callable[[], Mapping[str, Trigger]], seals: Seals
    ) -> None:
        self._read = read
        self._write = write
        self._triggers = triggers
        self._seals = seals

    async def run(self) -> None:
        """Look until cancelled. An error is logged, and followed by another look."""
        trouble = Trouble(log.error, "durable-records-not-restored")
        while True:
            with trouble.attempt():
                await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Record all that are found again."""
        triggers = self._triggers()
        lone = await self._read(partial(without_record, workflows=list(triggers)))
        found = [await self._facts(each, triggers[each.workflow].workflow) for each in lone]
        if given := [each for each in found if each is not None]:
            count = await self._write(partial(record_again, found=given))
            log.warning("durable-records-restored", runs=count)

    async def _facts(self, found: WithoutRecord, workflow: Workflow) -> tuple[Any, ...] | None:
        try:
            text = await self._seals.open(found.run_id, "request", found.request, found.key_version)
            payload = payload_of(text, found.workflow)
        except (ConnectionFault, CannotOpen, ValueError, LookupError, TypeError):  # it is parked when it goes on
            return None
        return facts(run_of(found.run_id, workflow, payload))
