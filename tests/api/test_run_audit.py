"""Events of the audit log about runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from postern.access import ANYONE, Caller
from postern.api.run_audit import AGAIN, RunAudit
from postern.journal.audit_event import Kind
from postern.journal.reading.records import RunRecord
from postern.security.audit.log import AuditLog

ADA = Caller("user", object_id="ada", tenant_id="t")


def a_run(workflow: str, kind: str = "anonymous") -> RunRecord:
    return cast("RunRecord", SimpleNamespace(id="1", workflow=workflow, object_id=None, caller_kind=kind))


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


def events(audit: AuditLog) -> list[tuple[str, str]]:
    return [(event.kind, event.workflow) for event in audit.take()]


def test_anonymous_callers_cause_one_event_a_minute_for_each_workflow(clock: list[float]) -> None:
    """Anyone can cancel or resubmit the runs that it started, again and again."""
    audit = AuditLog()
    runs = RunAudit(audit.note, lambda: clock[0])

    def flood(by: Caller) -> list[tuple[str, str]]:
        for _ in range(50):
            for workflow in ("hello", "other"):
                runs.cancelled(by, a_run(workflow), "192.0.2.1")
                runs.resubmitted(by, a_run(workflow), "192.0.2.1", a_run(workflow))
        return events(audit)

    each: list[Any] = [
        (kind, name) for name in ("hello", "other") for kind in (Kind.RUN_CANCELLED, Kind.RUN_RESUBMITTED)
    ]
    assert flood(ANYONE) == each
    assert flood(ANYONE) == []
    assert len(flood(ADA)) == 200
    clock[0] += AGAIN
    assert flood(ANYONE) == each


def test_an_operator_who_looks_again_causes_one_event_a_minute(clock: list[float]) -> None:
    audit = AuditLog()
    runs = RunAudit(audit.note, lambda: clock[0])
    for _ in range(3):
        runs.viewed(ADA, a_run("hello", "user"), "")
    clock[0] += AGAIN
    runs.viewed(ADA, a_run("hello", "user"), "")
    assert events(audit) == [(Kind.RECORD_VIEWED, "hello")] * 2
