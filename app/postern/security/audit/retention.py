"""Shortens the chains of the audit log at the age of all records."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import structlog

from postern.journal.audit_event import Kind
from postern.journal.audit_retention import Plan, plan, prune, prune_checkpoints
from postern.journal.server_processes import Transaction
from postern.security.audit.checkpoints import Checkpoints
from postern.security.audit.log import AuditLog
from postern.security.audit.writer import AuditWriter

BATCH = 500
"""Events that are deleted in one write."""
PAUSE = 0.1
"""Seconds between two of them."""

log = structlog.get_logger("postern.audit")


class AuditRetention:
    """Deletes old events. An event says so first, and a checkpoint names that event."""

    def __init__(
        self,
        audit: AuditLog,
        writer: AuditWriter,
        checkpoints: Checkpoints,
        read: Transaction,
        write: Transaction,
        *,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
    ) -> None:
        self._audit = audit
        self._writer = writer
        self._checkpoints = checkpoints
        self._read = read
        self._write = write
        self._sleep = sleep

    async def sweep(self, before: float) -> int:
        """Delete the events, and the checkpoints, of before that moment. Returns how many events."""
        total = 0
        while found := await self._read(partial(plan, before=before, own=self._writer.node)):
            self._audit.note(Kind.RETENTION, fields={"deleted": {}, "pruned": found.fields()})
            if not await self._writer.flush():
                break
            if not await self._checkpoints.make():
                break  # what no checkpoint proves would look as if somebody else had removed it
            deleted, checkpoints = await self._delete(found)
            total += deleted
            if not deleted and not checkpoints:
                log.error("audit-events-not-deleted", fix="verify the audit log: its rows do not fit together")
            elif found.is_full:
                continue
            break
        return total

    async def _delete(self, found: Plan) -> tuple[int, int]:
        events = checkpoints = 0
        for node, until in found.events.items():
            while deleted := await self._write(partial(prune, node=node, until=until, limit=BATCH)):
                events += deleted
                await self._sleep(PAUSE)
        for node, until in found.checkpoints.items():
            checkpoints += await self._write(partial(prune_checkpoints, node=node, until=until))
        return events, checkpoints
