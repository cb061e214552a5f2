"""Takes the events of the audit log. Parts of the server call `note`, which never waits and never fails."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from postern.access import Caller
from postern.journal.audit_event import AuditEvent, Kind, caller_fields

MOST_WAITING = 10_000
"""Events that wait to be written. If the database is away for long, further ones are counted."""


class Note(Protocol):
    """Takes one event: `AuditLog.note`."""

    def __call__(
        self,
        kind: Kind,
        *,
        by: Caller | None = None,
        subject: str = "",
        workflow: str = "",
        fields: Mapping[str, Any] | None = None,
    ) -> None: ...


def not_noted(
    kind: Kind,
    *,
    by: Caller | None = None,
    subject: str = "",
    workflow: str = "",
    fields: Mapping[str, Any] | None = None,
) -> None:
    """A Note that drops the event: where there is no audit log."""


class AuditLog:
    """The events of this server process until they are written. It belongs to one event loop."""

    def __init__(self, *, now: Callable[[], float] = time.time, most_waiting: int = MOST_WAITING) -> None:
        self._now = now
        self._waiting: deque[AuditEvent] = deque()
        self._most_waiting = most_waiting
        self._lost = 0

    def note(
        self,
        kind: Kind,
        *,
        by: Caller | None = None,
        subject: str = "",
        workflow: str = "",
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take one event, as of now. `by` is the caller who did it, whose fields are added. `subject` is the object id
        by which events are filtered: by default that of `by`."""
        if len(self._waiting) >= self._most_waiting:
            self._lost += 1
            return
        of_caller = caller_fields(by) if by is not None else {}
        found = {**of_caller, **({"workflow": workflow} if workflow else {}), **(fields or {})}
        self._waiting.append(
            AuditEvent(kind, self._now(), found, subject or (by.object_id if by is not None else ""), workflow)
        )

    def take(self) -> list[AuditEvent]:
        """All events that wait. They wait no more."""
        taken = list(self._waiting)
        self._waiting.clear()
        if self._lost:
            taken.append(AuditEvent(Kind.EVENTS_LOST, self._now(), {"count": self._lost}))
            self._lost = 0
        return taken
