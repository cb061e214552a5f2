"""Metrics of the audit log."""

from collections.abc import Iterable
from typing import Protocol

from postern.api.figures import Collect, Figure, counters, gauges


class Written(Protocol):
    """What was written of the audit log."""

    @property
    def written(self) -> int:
        """Events that are in the chain."""

    @property
    def waiting(self) -> int:
        """Events that wait to be written."""

    @property
    def lost(self) -> int:
        """Events that could not be written."""


class Checkpointed(Protocol):
    """The last checkpoint."""

    @property
    def last_at(self) -> float:
        """When it was made, 0 if there is none."""

    @property
    def why_not(self) -> str:
        """Why none can be made now."""


def audit_metrics(events: Written, checkpoints: Checkpointed) -> Collect:
    """Metrics of events and checkpoints."""

    def collect() -> Iterable[Figure]:
        totals = {("written",): events.written, ("lost",): events.lost}
        yield counters("postern_audit_events", "Events of the audit log, by what became of them.", ["outcome"], totals)
        waiting = {"": float(events.waiting)}
        yield gauges("postern_audit_events_waiting", "Events of the audit log that are not written yet.", waiting)
        yield gauges(
            "postern_audit_checkpoint_timestamp_seconds",
            "When the last checkpoint was made.",
            {"": checkpoints.last_at},
        )
        failing = {"": float(bool(checkpoints.why_not))}
        yield gauges("postern_audit_checkpoint_failing", "1 if no checkpoint can be made now.", failing)

    return collect
