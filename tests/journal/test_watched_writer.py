"""How long a writer may say nothing until it is replaced."""

import pickle
import socket
from contextlib import closing
from typing import Any

from postern.journal.database.engine import BUSY_SECONDS
from postern.journal.database.faults import Cause, Kind
from postern.journal.writing import writer
from postern.journal.writing.rows import facts
from postern.journal.writing.together import results
from postern.journal.writing.watched_writer import SILENCE, WatchedWriter
from postern.journal.writing.writer import (
    DONE,
    LENGTH,
    SIGN_EVERY,
    Opened,
    Opening,
    Start,
    Trouble,
    Work,
    Working,
    Writer,
)
from tests.journal.test_queue import run_of
from tests.table import table

WAITS = Trouble(Cause(Kind.AWAY, "OperationalError"), 3)
ALMOST = SILENCE - 1


class Process:
    """The link to a writer that is killed only."""

    killed = False

    def kill(self) -> None:
        self.killed = True


@table(
    ("events", "killed"),
    [
        ([ALMOST, 2.0], True),  # it never began
        ([Opening(), ALMOST, 1000.0], False),  # it may migrate
        ([Opening(), Opened(), "batch", ALMOST], False),
        ([Opening(), Opened(), "batch", ALMOST, 2.0], True),
        ([Opening(), Opened(), "batch", ALMOST, WAITS, ALMOST, WAITS, ALMOST], False),
        ([Opening(), Opened(), "batch", ALMOST, WAITS, ALMOST, 2.0], True),
        ([Opening(), Opened(), "batch", ALMOST, Working(), ALMOST, Working(), ALMOST], False),
        ([Opening(), Opened(), "batch", ALMOST, DONE, "nothing", ALMOST, 2.0, "batch", ALMOST], False),
    ],
)
def test_it_is_killed_when_it_says_nothing_for_too_long_with_work_to_do(events, killed):
    link: Any = Process()
    watched = WatchedWriter(Start("sqlite:///unused.db", "node"), lambda _: None, lambda _: None)
    watched._link = link
    busy = False
    for event in events:
        if isinstance(event, float):
            watched.tick(event, busy=busy)
        elif isinstance(event, str):
            busy = event == "batch"
        else:
            watched._on_message(event)
    assert link.killed is killed


def test_one_that_works_for_long_on_a_batch_reports_it(monkeypatch):
    """Callers choose what takes long. Else each writer would be killed for the same batch, for ever."""
    monkeypatch.setattr(writer, "SIGN_EVERY", -1.0)
    ours, its = socket.socketpair()
    run = run_of()
    with ours, closing(Writer(its)) as working:
        batch, unmade = working._batch(Work([facts(run)] * 3, [], [pickle.dumps(repr)] * 2), "node")
        assert list(results(None, batch.operations, batch.begins)) == ["None"] * 2  # type: ignore[arg-type]
        ours.settimeout(10)
        frames = ours.makefile("rb")
        signs = [pickle.loads(frames.read(*LENGTH.unpack(frames.read(LENGTH.size)))) for _ in range(5)]
    assert (signs, len(batch.runs), unmade) == ([Working()] * 5, 3, {})
    assert SILENCE > 10 * SIGN_EVERY


def test_one_that_waits_for_a_lock_reports_before_that():
    assert SILENCE > BUSY_SECONDS + 10
