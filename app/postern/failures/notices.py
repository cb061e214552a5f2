"""Which failures one run gets, and its body. Pure.

A workflow that fails often starts BURST runs at once, and one more each SECONDS_PER_NOTICE. The last one for which
there is room stands for all failures that wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic_core import to_json

from postern.journal.failure_notices import Failure

BURST = 10
SECONDS_PER_NOTICE = 60.0


@dataclass(slots=True)
class Room:
    """How many runs the failures of a workflow may still start. `at` is when that was, in Unix seconds."""

    left: float = float(BURST)
    at: float = field(default=0.0)

    def at_most(self, now: float) -> int:
        """So many may start now."""
        self.left = min(float(BURST), self.left + max(0.0, now - self.at) / SECONDS_PER_NOTICE)
        self.at = now
        return int(self.left)


def grouped(waiting: Sequence[Failure], room: int) -> list[Sequence[Failure]]:
    """The failures of each run: one as long as there is room, and all others together in the last."""
    if room <= 0:
        return []
    alone = len(waiting) if len(waiting) <= room else room - 1
    rest = waiting[alone:]
    return [*([each] for each in waiting[:alone]), *([rest] if rest else [])]


def notice(failure: Failure, more: int, *, secured: bool) -> bytes:
    """The JSON body of a run that reports a failure, and `more` others that no other run reports. It has nothing
    of the bodies of the run that failed, and of a secured one only the type of its error."""
    return to_json(
        {
            "run_id": failure.run_id,
            "workflow": failure.workflow,
            "state": failure.state,
            "error": {
                "type": failure.error_type or None,
                "message": None if secured else failure.error_message or None,
            },
            "started_at": _when(failure.started_at),
            "ended_at": _when(failure.ended_at),
            "more_failures": more,
        }
    )


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
