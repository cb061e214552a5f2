"""Signed URLs that are made and revoked are in the audit log, with the fields of its table."""

from pathlib import Path

from postern.access import Caller
from postern.assembly import load_catalog
from postern.assembly.signed_urls import _note_made, _note_revoked
from postern.journal.audit_event import FIELDS, Kind
from postern.journal.signed_urls import SignedUrl
from postern.security.audit.log import AuditLog
from postern.settings import load_settings

ROW = SignedUrl("orders", "partner-x", "primary", None, ("customer",), "{}", 1.0, 2.0)
ADA = Caller("user", "ada-id", "tenant", name="Ada")


def test_both_events_have_their_fields_and_who_did_it():
    audit = AuditLog()
    _note_made(audit.note, ROW, ADA)
    _note_revoked(audit.note, ROW, ADA)
    made, revoked = audit.take()
    assert (made.kind, revoked.kind) == (Kind.SIGNED_URL_MADE, Kind.SIGNED_URL_REVOKED)
    assert set(made.fields) == set(FIELDS[Kind.SIGNED_URL_MADE])
    assert set(revoked.fields) == set(FIELDS[Kind.SIGNED_URL_REVOKED])
    assert (made.subject, made.workflow, made.fields["expires_at"]) == ("ada-id", "orders", 2.0)


def test_without_a_key_vault_a_workflow_with_signed_urls_is_a_fault(tmp_path: Path):
    (tmp_path / "signed.py").write_text(
        "from postern import Context, anonymous, workflow\n\n"
        "@workflow(access=anonymous(signed=True))\ndef orders(ctx: Context): ...\n"
    )
    settings = load_settings({}, folder=tmp_path, defaults={"workflows": str(tmp_path)})
    snapshot = load_catalog(settings).snapshot
    assert not snapshot.triggers
    assert "signed=True needs a Key Vault: set POSTERN_KEY_VAULT_URL" in snapshot.faults[0].cause
