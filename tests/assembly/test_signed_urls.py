"""Signed URLs that are made and revoked are in the audit log, with the fields of its table."""

from postern.access import Caller
from postern.assembly.signed_urls import _note_made, _note_revoked
from postern.journal.audit_event import FIELDS, Kind
from postern.journal.signed_urls import SignedUrl
from postern.security.audit.log import AuditLog

ROW = SignedUrl("orders", "partner-x", "primary", None, ("customer",), "{}", 1.0, 2.0)
ADA = Caller("user", "ada-id", "tenant", name="Ada")


def test_both_events_have_their_fields_and_who_did_it():
    audit = AuditLog()
    _note_made(audit, ROW, ADA)
    _note_revoked(audit, ROW, ADA)
    made, revoked = audit.take()
    assert (made.kind, revoked.kind) == (Kind.SIGNED_URL_MADE, Kind.SIGNED_URL_REVOKED)
    assert set(made.fields) == set(FIELDS[Kind.SIGNED_URL_MADE])
    assert set(revoked.fields) == set(FIELDS[Kind.SIGNED_URL_REVOKED])
    assert (made.subject, made.workflow, made.fields["expires_at"]) == ("ada-id", "orders", 2.0)
