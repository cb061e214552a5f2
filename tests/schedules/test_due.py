"""Which due time is decided about, and how. A table."""

from datetime import UTC, datetime, timedelta

import pytest

from postern.authoring.schedule import Missed, Schedule
from postern.schedules.due import LATE, Decision, decide

SEVEN = datetime(2027, 3, 1, 7, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("expression", "missed", "floor", "now", "due", "decision"),
    [
        ("0 7 * * *", "skip", SEVEN - DAY, SEVEN - SECOND, None, None),
        ("0 7 * * *", "skip", SEVEN - DAY, SEVEN, SEVEN, "fire"),
        ("0 7 * * *", "skip", SEVEN - DAY, SEVEN + SECOND, SEVEN, "fire"),
        ("0 7 * * *", "skip", SEVEN - DAY, SEVEN + LATE * SECOND, SEVEN, "fire"),
        ("0 7 * * *", "skip", SEVEN - DAY, SEVEN + (LATE + 1) * SECOND, SEVEN, "skip"),
        ("0 7 * * *", "once", SEVEN - DAY, SEVEN + (LATE + 1) * SECOND, SEVEN, "fire"),
        # It was decided already.
        ("0 7 * * *", "once", SEVEN, SEVEN + SECOND, None, None),
        # The clock was set back: nothing is due until it is later than the last decision.
        ("0 7 * * *", "once", SEVEN, SEVEN - 2 * SECOND, None, None),
        ("* * * * *", "once", SEVEN, SEVEN - timedelta(hours=1), None, None),
        # Of several missed times one stands for all.
        ("0 7 * * *", "once", SEVEN - 30 * DAY, SEVEN + timedelta(hours=3), SEVEN, "fire"),
        ("0 7 * * *", "skip", SEVEN - 30 * DAY, SEVEN + timedelta(hours=3), SEVEN, "skip"),
        ("0 7 * * *", "skip", SEVEN - 30 * DAY, SEVEN + SECOND, SEVEN, "fire"),
        # A server that stood still for two minutes, and one that was away for a year.
        ("* * * * *", "skip", SEVEN - timedelta(minutes=2), SEVEN + SECOND, SEVEN, "fire"),
        ("* * * * *", "once", SEVEN - 365 * DAY, SEVEN + SECOND, SEVEN, "fire"),
        ("*/7 * * 1 *", "skip", SEVEN - 365 * DAY, SEVEN, datetime(2027, 1, 31, 23, 56, tzinfo=UTC), "skip"),
    ],
)
def test_the_last_due_time_is_decided_about(
    expression: str, missed: Missed, floor: datetime, now: datetime, due: datetime | None, decision: str | None
):
    found = decide(Schedule(expression, "UTC", missed), floor.timestamp(), now.timestamp())
    if due is None or decision is None:
        assert found is None
    else:
        assert found == (due.timestamp(), Decision(decision))
