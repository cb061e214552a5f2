"""Operating: the audit log, and what watches and limits callers."""

from dataclasses import dataclass

from postern.assembly.part import Part
from postern.journal.journal import Journal
from postern.security.audit.log import AuditLog
from postern.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPart(Part):
    """The audit log. Parts that are made before the journal note events in `audit` too."""

    audit: AuditLog


def audit_part(settings: Settings, audit: AuditLog, journal: Journal) -> AuditPart:
    """Events are written while the server runs."""
    del settings, journal
    return AuditPart(audit=audit)
