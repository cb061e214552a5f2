"""What operators do with findings: acknowledge one, or note that they revoked what it is about. `/findings` and the
console share it, so that the audit log and the lines in the log are the same."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_json
from structlog.typing import FilteringBoundLogger

from postern.access import Caller
from postern.api.representation import when
from postern.api.run_actions import Write
from postern.errors import problem
from postern.ids import is_id
from postern.journal.audit_event import Kind
from postern.journal.finding import Finding, FindingState
from postern.journal.findings import mark
from postern.journal.run import actor
from postern.security.audit.log import Note
from postern.security.findings.kinds import title_of


@dataclass(frozen=True, slots=True)
class FindingActions:
    """`write` is the journal's, `note` takes audit events."""

    write: Write
    note: Note
    log: FilteringBoundLogger
    now: Callable[[], float] = time.time

    async def mark(self, finding_id: str, state: FindingState, by: Caller) -> Finding:
        """Set the state of a finding. The first operator stays noted. Raises Problem `unknown-finding`."""
        operation = partial(mark, finding_id=finding_id, state=state, by=actor(by), now=self.now())
        found = await self.write(operation) if is_id(finding_id) else None
        if found is None:
            raise problem("unknown-finding")
        fields = {"finding": found.id, "finding_kind": found.kind, "state": found.state}
        self.note(Kind.FINDING_ACKNOWLEDGED, by=by, subject=found.who.object_id or found.subject, fields=fields)
        self.log.info("finding-marked", finding=found.id, kind=found.kind, state=found.state, by=by.object_id)
        return found


def finding_json(finding: Finding) -> bytes:
    """A finding as `GET /findings/{id}` shows it, and as the body of its alert."""
    return to_json(finding_document(finding))


def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding. Its members are a contract: alert workflows read them."""
    who = finding.who
    known = any((who.object_id, who.client_id))
    return {
        "id": finding.id,
        "kind": finding.kind,
        "title": title_of(finding.kind),
        "state": finding.state,
        "subject": finding.subject,
        "caller": {
            "kind": who.kind or None,
            "object_id": who.object_id or None,
            "tenant_id": who.tenant_id or None,
            "client_id": who.client_id or None,
            "name": who.name or None,
        }
        if known
        else None,
        "token_id": who.token_id or None,
        "client_address": finding.client_address or None,
        "workflow": finding.workflow or None,
        "first_at": when(finding.first_at),
        "last_at": when(finding.last_at),
        "count": finding.count,
        "evidence": finding.evidence.as_json(),
        "state_by": finding.state_by,
        "state_at": when(finding.state_at),
        "alerted_at": when(finding.alerted_at),
    }
