"""Takes the events of the audit log. Parts of the server call `note`, which never waits and never fails."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from postern.access import Caller
from postern.journal.audit_event import AuditEvent, Kind, caller_fields

MOST_WAITING = 10_000
"""Events that wait to be written. If the database is away for long, further ones are counted."""

AT_ONCE = frozenset({Kind.REVOCATION, Kind.REVOCATION_LIFTED, Kind.FINDING})
"""Kinds that are not kept waiting for others."""


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
        self.urgent = asyncio.Event()
        """Set when an event should be written at once."""

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

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
        if kind in AT_ONCE:
            self.urgent.set()

    def lose(self, count: int) -> None:
        """So many events cannot be written. The next one that is written says so."""
        self._lost += count

    def take(self) -> list[AuditEvent]:
        """All events that wait. They wait no more."""
        self.urgent.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        if self._lost:
            taken.append(AuditEvent(Kind.EVENTS_LOST, self._now(), {"count": self._lost}))
            self._lost = 0
        return taken
