"""Which due time of a schedule is decided about now, and how. Pure."""

from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from postern.authoring.schedule import Schedule

LATE = 60.0
"""Seconds after a due time in which a run still starts. Later the time is missed: no server process ran then."""

_FEW = 100
"""Due times that are passed one by one, before the last one is looked for from its end."""


class Decision(StrEnum):
    """What is done about a due time."""

    FIRE = "fire"
    SKIP = "skip"


class Due(NamedTuple):
    """A due time, in Unix seconds, and what is done about it. Times before it that nobody decided about are missed, and
    are part of the decision."""

    at: float
    decision: Decision


def decide(schedule: Schedule, floor: float, now: float) -> Due | None:
    """The last due time after `floor`, the time of the last decision, until `now`. None if there is none. Of several
    such times one run starts at most: the last one stands for all."""
    at = _last(schedule, floor, now)
    if at is None:
        return None
    fires = now - at <= LATE or schedule.missed == "once"
    return Due(at, Decision.FIRE if fires else Decision.SKIP)


def _last(schedule: Schedule, floor: float, now: float) -> float | None:
    if floor >= now:
        return None
    last: float | None = None
    for count, at in enumerate(islice(schedule.after(floor), _FEW), start=1):
        if at > now:
            return last
        last = at
        if count == _FEW:
            return schedule.latest(now)
    return last
