"""How long a writer may say nothing until it is replaced."""

from typing import Any

import pytest

from postern.journal.database.engine import BUSY_SECONDS
from postern.journal.database.faults import Cause, Kind
from postern.journal.writing.watched_writer import SILENCE, WatchedWriter
from postern.journal.writing.writer import DONE, Opened, Opening, Start, Trouble

WAITS = Trouble(Cause(Kind.AWAY, "OperationalError"), 3)
ALMOST = SILENCE - 1


class Process:
    """The link to a writer that is killed only."""

    killed = False

    def kill(self) -> None:
        self.killed = True


@pytest.mark.parametrize(
    ("events", "killed"),
    [
        ([ALMOST, 2.0], True),  # it never began
        ([Opening(), ALMOST, 1000.0], False),  # it may migrate
        ([Opening(), Opened(), "batch", ALMOST], False),
        ([Opening(), Opened(), "batch", ALMOST, 2.0], True),
        ([Opening(), Opened(), "batch", ALMOST, WAITS, ALMOST, WAITS, ALMOST], False),
        ([Opening(), Opened(), "batch", ALMOST, WAITS, ALMOST, 2.0], True),
        ([Opening(), Opened(), "batch", ALMOST, DONE, "nothing", ALMOST, 2.0, "batch", ALMOST], False),
    ],
)
def test_it_is_killed_when_it_says_nothing_for_too_long_with_work_to_do(events, killed):
    link: Any = Process()
    writer = WatchedWriter(Start("sqlite:///unused.db", "node"), lambda _: None, lambda _: None)
    writer._link = link
    busy = False
    for event in events:
        if isinstance(event, float):
            writer.tick(event, busy=busy)
        elif isinstance(event, str):
            busy = event == "batch"
        else:
            writer._on_message(event)
    assert link.killed is killed


def test_one_that_waits_for_a_lock_reports_before_that():
    assert SILENCE > BUSY_SECONDS + 10
