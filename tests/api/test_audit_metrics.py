"""The metrics of the audit log."""

from types import SimpleNamespace

from postern.api.audit_metrics import audit_metrics
from postern.api.metric_families import families


def test_what_was_written_lost_and_waits_and_the_last_checkpoint_are_metrics() -> None:
    events = SimpleNamespace(written=7, lost=1, waiting=2)
    collect = audit_metrics(events, SimpleNamespace(last_at=5.0, why_not="no key"))
    found = {
        (sample.name, sample.labels.get("outcome", "")): sample.value
        for family in families("p", collect())
        for sample in family.samples
    }
    assert found == {
        ("postern_audit_events_total", "written"): 7,
        ("postern_audit_events_total", "lost"): 1,
        ("postern_audit_events_waiting", ""): 2,
        ("postern_audit_checkpoint_timestamp_seconds", ""): 5.0,
        ("postern_audit_checkpoint_failing", ""): 1.0,
    }
