"""What the other parts are made of: the settings, the log, and the parts that need no others."""

from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from postern.assembly.catalog_part import CatalogPart, catalog_part
from postern.assembly.connections import ConnectionsPart, connections_part
from postern.assembly.identity import IdentityPart, identity_part
from postern.assembly.journal import JournalPart, journal_part, records_deleted
from postern.assembly.outside import NETWORK, Outside
from postern.assembly.part import Part
from postern.journal.journal import Journal
from postern.security.audit.log import AuditLog, Note
from postern.security.revocation.revocations import Revocations
from postern.security.sender_signatures.missing import MissingSecrets
from postern.settings import Settings


@dataclass(frozen=True, slots=True)
class Foundation:
    """`audit` takes events of the audit log from the first moment. `revocations` says whose access has ended, and
    `missing_secrets` which secrets of senders Key Vault does not have."""

    settings: Settings
    log: FilteringBoundLogger
    audit: AuditLog
    revocations: Revocations
    missing_secrets: MissingSecrets
    identity: IdentityPart
    catalog: CatalogPart
    connections: ConnectionsPart
    of_journal: JournalPart
    outside: Outside = NETWORK

    @property
    def note(self) -> Note:
        """Notes an event of the audit log."""
        return self.audit.note

    @property
    def journal(self) -> Journal:
        """The journal that records runs."""
        return self.of_journal.journal

    @property
    def parts(self) -> tuple[Part, ...]:
        """In the order in which they start."""
        return self.identity, self.catalog, self.connections, self.of_journal


def foundation(settings: Settings, log: FilteringBoundLogger, outside: Outside = NETWORK) -> Foundation:
    """Raises SettingsFault if a workflow needs a setting that is not set, and DatabaseFault if the database can never
    be used."""
    audit, revocations, missing = AuditLog(), Revocations(), MissingSecrets()
    identity = identity_part(settings, revocations, outside.fetch_for)
    catalog = catalog_part(settings, identity.serve, missing, trial=outside.trial)
    connections = connections_part(settings, outside.connections)
    journal = journal_part(settings, records_deleted(audit.note), outside.start_writer)
    return Foundation(settings, log, audit, revocations, missing, identity, catalog, connections, journal, outside)
