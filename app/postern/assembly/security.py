"""Operating: the audit log, and what watches and limits callers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from postern.assembly.part import Part
from postern.journal.journal import Journal
from postern.security.audit.log import AuditLog
from postern.security.audit.writer import AuditWriter
from postern.settings import Settings

log = structlog.get_logger("postern.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPart(Part):
    """The audit log. Parts that are made before the journal note events in `audit` too."""

    audit: AuditLog


def audit_part(settings: Settings, audit: AuditLog, journal: Journal) -> AuditPart:
    """Events are written while the server runs, and what is left when it stops."""
    del settings
    writer = AuditWriter(audit, journal.node, journal.write)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        if not await writer.flush():
            log.error("audit-events-not-written", count=writer.waiting)

    return AuditPart(audit=audit, life=life, tasks=(writer.run,))
