"""Events of the audit log about runs: who viewed, cancelled, resubmitted, resumed or signalled the run of whom."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from postern.access import ANYONE, Caller
from postern.api.access import is_anonymous
from postern.journal.audit_event import Kind
from postern.journal.reading.records import RunRecord
from postern.security.audit.log import Note, not_noted

AGAIN = 60.0
"""Seconds in which the views of a run by one operator are one event, because a page asks for itself again and again. So
is what anonymous callers do with runs of one workflow, because anyone can do it again and again."""

MOST_VIEWS = 1_000


@dataclass(frozen=True, slots=True)
class RunAudit:
    """Notes events. The run API and the console share one. `clock` is monotonic."""

    note: Note = not_noted
    clock: Callable[[], float] = time.monotonic
    views: dict[tuple[str, ...], float] = field(default_factory=dict)

    def viewed(self, by: Caller, record: RunRecord, address: str) -> None:
        """An operator saw the record of another caller's run."""
        if self._is_first(by.tenant_id, by.object_id, record.id):
            self._note(Kind.RECORD_VIEWED, by, record, address)

    def cancelled(self, by: Caller, record: RunRecord, address: str) -> None:
        """A caller had a run cancelled."""
        if by.kind != ANYONE.kind or self._is_first(Kind.RUN_CANCELLED, record.workflow):
            self._note(Kind.RUN_CANCELLED, by, record, address)

    def resubmitted(self, by: Caller, record: RunRecord, address: str, started: RunRecord) -> None:
        """A caller started a run again."""
        if by.kind != ANYONE.kind or self._is_first(Kind.RUN_RESUBMITTED, record.workflow):
            self._note(Kind.RUN_RESUBMITTED, by, record, address, new_run=_id_of(started))

    def resumed(self, by: Caller, record: RunRecord, address: str, *, from_start: bool) -> None:
        """An operator had a durable run resumed."""
        self._note(Kind.RUN_RESUMED, by, record, address, from_start=from_start)

    def signalled(self, by: Caller, record: RunRecord, address: str, name: str) -> None:
        """A caller sent a signal to a run."""
        if by.kind != ANYONE.kind or self._is_first(Kind.SIGNAL_SENT, record.workflow):
            self._note(Kind.SIGNAL_SENT, by, record, address, signal=name)

    def decided(self, by: Caller, record: RunRecord, address: str, name: str, decision: str) -> None:
        """A person decided about an approval of a run."""
        self._note(Kind.APPROVAL_DECIDED, by, record, address, approval=name, decision=decision)

    def _is_first(self, *key: str) -> bool:
        """Whether the last event of this key is AGAIN ago."""
        now = self.clock()
        if now - self.views.get(key, -AGAIN) < AGAIN:
            return False
        if len(self.views) >= MOST_VIEWS:
            self.views.clear()
        self.views[key] = now
        return True

    def _note(self, kind: Kind, by: Caller, record: RunRecord, address: str, **more: Any) -> None:
        fields = {"run": _id_of(record), "owner": record.object_id or "", "client_address": address, **more}
        self.note(kind, by=by, workflow=record.workflow, fields=fields)


def _id_of(record: RunRecord) -> str:
    """The id of a run; "" for an anonymous caller's, because it gives access to the run."""
    return "" if is_anonymous(record) else record.id
