"""What a run printed and logged, as it is recorded."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, select

from postern.journal.run_log_table import run_logs
from postern.journal.run_logs import LogLine


@dataclass(frozen=True, slots=True)
class RunLog:
    """The lines of a run in their order, each with the attempt of a durable run in which it was said (else 1).
    `left_out` counts those that were too many, `secured` those of a secured workflow, which are only counted."""

    lines: tuple[tuple[int, LogLine], ...] = ()
    left_out: int = 0
    secured: int = 0

    @property
    def count(self) -> int:
        """All lines that were said."""
        return len(self.lines) + self.left_out + self.secured


def run_log(connection: Connection, run_id: str) -> RunLog:
    """The log of a run, which is empty if it said nothing."""
    table = run_logs.c
    wanted = select(table.attempt, table.lines, table.left_out, table.secured).where(table.run_id == run_id)
    rows = connection.execute(wanted.order_by(table.attempt, table.number)).all()
    return RunLog(
        tuple((row.attempt, LogLine(*line)) for row in rows for line in json.loads(row.lines)),
        sum(row.left_out for row in rows),
        sum(row.secured for row in rows),
    )
