"""A run with as much of it as one page shows."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection

from postern.journal.reading.queries import MOST_CALLS, calls_of, find_run_alone
from postern.journal.reading.records import CallRecord, RunRecord
from postern.journal.reading.step_window import StepWindow, step_window


class RunParts(NamedTuple):
    """The record without steps and calls, None if there is none; some of its steps, and its first calls."""

    record: RunRecord | None
    window: StepWindow
    calls: tuple[CallRecord, ...]


def run_parts(
    connection: Connection, run_id: str, after: int = 0, may_see: Callable[[RunRecord], bool] = lambda _: True
) -> RunParts:
    """A run with its steps behind the one with the number `after`. It reads a bounded number of rows. Nothing more is
    read of a run that `may_see` forbids, so that it takes no longer than one that does not exist."""
    record = find_run_alone(connection, run_id)
    if record is None or not may_see(record):
        return RunParts(None, StepWindow(after, (), more=False, failed=(), last=None, examined=True), ())
    made = calls_of(connection, [run_id], MOST_CALLS)
    return RunParts(record, step_window(connection, run_id, after), tuple(call for _, call in made))
