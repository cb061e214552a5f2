"""The audit log: its writer, its checkpoints and its retention."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import anyio
import structlog

from postern.api.audit_metrics import audit_metrics
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.connections import Connections
from postern.connections.faults import ConnectionFault
from postern.journal.audit import heads
from postern.journal.reading.readers import SERVER
from postern.security.audit.checkpoint_file import CheckpointFile
from postern.security.audit.checkpoints import Checkpoints, Keeping
from postern.security.audit.log import AuditLog
from postern.security.audit.retention import AuditRetention
from postern.security.audit.signing_key import KeyFault, VaultKey
from postern.security.audit.writer import AuditWriter
from postern.settings import Settings

LAST_SECONDS = 3.0
"""Seconds for which the last checkpoint may wait for the vault when the server stops."""

log = structlog.get_logger("postern.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPart(Part):
    """The audit log. Parts that are made before the journal note events in `audit` too. `writer` knows the end of this
    server process's chain, and `checkpoints` the last one and why none can be made."""

    audit: AuditLog
    writer: AuditWriter
    checkpoints: Checkpoints


def audit_part(base: Foundation) -> AuditPart:
    """Events are written while the server runs, and what is left when it stops. So are checkpoints."""
    audit, journal = base.audit, base.journal
    writer = AuditWriter(audit, journal.node, journal.write)
    read_heads = partial(journal.read, heads, caller=SERVER)
    checkpoints = Checkpoints(writer, read_heads, journal.write, _keeping(base.settings, base.connections.connections))
    retention = AuditRetention(audit, writer, checkpoints, partial(journal.read, caller=SERVER), journal.write)
    base.of_journal.retention.also["audit_events"] = retention.sweep

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        if not await writer.flush():
            log.error("audit-events-not-written", count=writer.waiting)
        with suppress(TimeoutError), anyio.fail_after(LAST_SECONDS):
            await checkpoints.make()

    return AuditPart(
        audit=audit,
        writer=writer,
        checkpoints=checkpoints,
        life=life,
        tasks=(writer.run, checkpoints.run),
        metrics=(audit_metrics(writer, checkpoints),),
    )


def _keeping(settings: Settings, connections: Connections) -> Keeping:
    """Where checkpoints are kept, and what signs them."""

    async def read(name: str) -> str:
        try:
            return await connections.vault.secret(name)
        except ConnectionFault as fault:
            raise KeyFault(str(fault)) from None

    key = VaultKey(settings.audit_key_name, read) if settings.audit_key_name else None
    return Keeping(key, CheckpointFile(settings.audit_file) if settings.audit_file else None)
