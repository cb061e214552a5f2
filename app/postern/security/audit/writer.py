"""Writes the events of this server process to its chain, some at a time."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from postern.errors import Problem
from postern.journal.audit import append
from postern.journal.audit_chain import Head, Packed, packed
from postern.journal.audit_event import AuditEvent
from postern.journal.server_processes import Transaction
from postern.security.audit.log import AuditLog

EVERY = 0.5
"""Seconds for which an event waits for others."""

MOST_AT_ONCE = 100
"""Events in one write."""

log = structlog.get_logger("postern.audit")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Events that are being written. A batch that may have been written is repeated unchanged, so that none of its
    events is written twice."""

    events: tuple[AuditEvent, ...]
    packed: Packed


class AuditWriter:
    """The end of this server process's chain. It belongs to one event loop. `write` is the journal's. `written` and
    `lost` count events."""

    def __init__(self, audit: AuditLog, node: str, write: Transaction, *, every: float = EVERY) -> None:
        self.node = node
        self.head = Head()
        self.written = 0
        self.lost = 0
        self._audit = audit
        self._write = write
        self._every = every
        self._taken: deque[AuditEvent] = deque()
        self._batch: _Batch | None = None
        self._at_once = MOST_AT_ONCE
        self._writing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many events are not written yet."""
        return self._audit.waiting + len(self._taken) + (len(self._batch.events) if self._batch else 0)

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._audit.urgent.wait()
            self._audit.urgent.clear()  # also if nothing can be written now
            await self.flush()

    async def flush(self) -> bool:
        """Write all events that wait. Returns whether that was possible; if not, they wait for the next time."""
        async with self._writing:
            while self._batch is not None or self._take():
                batch = self._batch
                if batch is None:
                    continue
                try:
                    self.head = await self._write(partial(append, node=self.node, after=self.head, events=batch.packed))
                except Problem as problem:
                    if problem.code != "journal-unavailable":
                        self._split(batch.events, problem.code)
                    return False
                except Exception as error:
                    self._split(batch.events, type(error).__name__)
                    return False
                self.written += len(batch.events)
                self._batch = None
            return True

    def _take(self) -> bool:
        """Make the next batch. Returns False if nothing waits."""
        if len(self._taken) < MOST_AT_ONCE:
            self._taken.extend(self._audit.take())
        if not self._taken:
            self._at_once = MOST_AT_ONCE
            return False
        events = tuple(self._taken.popleft() for _ in range(min(self._at_once, len(self._taken))))
        try:
            self._batch = _Batch(events, packed(events))
        except Exception as error:  # a value is no JSON, and has no text either
            self._split(events, type(error).__name__)
        return True

    def _split(self, events: tuple[AuditEvent, ...], cause: str) -> None:
        """Events that cannot be written together are written one at a time. One that cannot be written is lost."""
        self._batch = None
        if len(events) > 1:
            self._at_once = 1
            self._taken.extendleft(reversed(events))
            return
        self.lost += 1
        self._audit.lose(1)
        log.error("audit-event-lost", kind=events[0].kind, cause=cause)
