"""An event of the audit log: its kind, and the fields that each kind has. Pure.

The names are a contract: programs of auditors read them. Times are Unix seconds. A caller is written as
`caller_fields` does. No field ever has a token, a secret, a cookie or a body.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from postern.access import Caller


class Kind(StrEnum):
    """What happened."""

    ADMISSION = "admission"
    REFUSAL = "refusal"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    CONSENT = "consent"
    SECRET_READ = "secret-read"  # noqa: S105 no password
    WORKFLOW_ADDED = "workflow-added"
    WORKFLOW_CHANGED = "workflow-changed"
    WORKFLOW_REMOVED = "workflow-removed"
    FILE_FAULTY = "file-faulty"
    ACCESS_CHANGED = "access-changed"
    SERVER_STARTED = "server-started"
    REVOCATION = "revocation"
    REVOCATION_LIFTED = "revocation-lifted"
    RUN_CANCELLED = "run-cancelled"
    RUN_RESUBMITTED = "run-resubmitted"
    RUN_RESUMED = "run-resumed"
    SIGNAL_SENT = "signal-sent"
    APPROVAL_DECIDED = "approval-decided"
    RECORD_VIEWED = "record-viewed"
    RETENTION = "retention"
    FINDING = "finding"
    FINDING_ACKNOWLEDGED = "finding-acknowledged"
    SIGNED_URL_MADE = "signed-url-made"
    SIGNED_URL_REVOKED = "signed-url-revoked"
    EVENTS_LOST = "events-lost"


CALLER = ("caller_kind", "object_id", "tenant_id", "client_id", "name")
"""The fields of the caller who did it."""

CODE = ("file", "sha256", "helpers_sha256")
"""The fields of a workflow's code: its file below the folder of workflows, and SHA-256 of it and of the helper modules,
as they were loaded."""

FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ADMISSION: (*CALLER, "workflow", "client_addresses", "first_at", "last_at", "count", "request_ids"),
    Kind.REFUSAL: (
        *("reason", "code", "status", "workflow", "client_address", "first_at", "last_at", "count", "request_ids"),
        *("object_id", "tenant_id", "client_id", "token_id"),
    ),
    Kind.SIGN_IN: (*CALLER, "client_address"),
    Kind.SIGN_OUT: (*CALLER, "owner"),
    Kind.CONSENT: (*CALLER, "connection", "owner", "action"),
    Kind.SECRET_READ: ("secret", "version"),
    Kind.WORKFLOW_ADDED: ("workflow", *CODE, "access"),
    Kind.WORKFLOW_CHANGED: ("workflow", *CODE),
    Kind.WORKFLOW_REMOVED: ("workflow", *CODE),
    Kind.FILE_FAULTY: ("file", "line", "still_serving"),
    Kind.ACCESS_CHANGED: ("workflow", *CODE, "before", "after"),
    Kind.SERVER_STARTED: ("version", "settings", "workflows"),
    Kind.REVOCATION: (*CALLER, "revocation", "revoked_kind", "revoked", "not_before", "bars_until", "reason"),
    Kind.REVOCATION_LIFTED: (*CALLER, "revocation", "revoked_kind", "revoked"),
    Kind.RUN_CANCELLED: (*CALLER, "run", "workflow", "owner", "client_address"),
    Kind.RUN_RESUBMITTED: (*CALLER, "run", "workflow", "owner", "client_address", "new_run"),
    Kind.RUN_RESUMED: (*CALLER, "run", "workflow", "owner", "client_address", "from_start"),
    Kind.SIGNAL_SENT: (*CALLER, "run", "workflow", "owner", "client_address", "signal"),
    Kind.APPROVAL_DECIDED: (*CALLER, "run", "workflow", "owner", "client_address", "approval", "decision"),
    Kind.RECORD_VIEWED: (*CALLER, "run", "workflow", "owner", "client_address"),
    Kind.RETENTION: ("deleted", "pruned"),
    Kind.FINDING: ("finding", "finding_kind", "subject", "workflow", "client_address"),
    Kind.FINDING_ACKNOWLEDGED: (*CALLER, "finding", "finding_kind", "state"),
    Kind.SIGNED_URL_MADE: (*CALLER, "workflow", "link", "key", "expires_at"),
    Kind.SIGNED_URL_REVOKED: (*CALLER, "workflow", "link"),
    Kind.EVENTS_LOST: ("count",),
}
"""The fields of each kind of event, beside those that all have: `node`, `number`, `at` and `kind`."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that happened. `fields` has JSON values, by the names in FIELDS. `subject` is the object id by which
    events are filtered."""

    kind: Kind
    at: float
    fields: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    workflow: str = ""


def caller_fields(caller: Caller) -> dict[str, str]:
    """The fields of the caller who did it."""
    return {
        "caller_kind": caller.kind,
        "object_id": caller.object_id,
        "tenant_id": caller.tenant_id,
        "client_id": caller.client_id,
        "name": caller.name,
    }
