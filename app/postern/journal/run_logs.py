"""What runs printed and logged: some lines of a run as a row, within the bounds of the whole run. Operations for the
journal's writer."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, exists, func, insert, select

from postern.journal.run_log_table import run_logs
from postern.journal.schema import runs

MOST_LINES = 1000
"""Lines of a run that are kept."""
MOST_BYTES = 64 * 1024
"""Bytes of their texts together."""
ROW_BYTES = 256
"""What a row takes beside the texts, about."""


class LogLine(NamedTuple):
    """A line. `at` is Unix seconds. `source` is `stdout`, `stderr` or `log`. `level` and `logger` are "" unless it is a
    line of a log."""

    at: float
    source: str
    level: str
    logger: str
    text: str


class Lines(NamedTuple):
    """Lines that a run said one after the other. `left_out` were too many, `secured` are only counted. `workflow` is
    set for the run of an anonymous caller, whose storage is bounded."""

    run_id: str
    attempt: int
    number: int
    kept: tuple[LogLine, ...]
    left_out: int
    secured: int
    workflow: str


def fitting(lines: Sequence[LogLine], held: int, held_bytes: int) -> tuple[LogLine, ...]:
    """As many of the lines as are kept, from the first one on, of a run that has so many lines and bytes already."""
    left = MOST_BYTES - held_bytes
    for count, line in enumerate(lines):
        left -= size_of(line)
        if left < 0 or held + count >= MOST_LINES:
            return tuple(lines[:count])
    return tuple(lines)


def size_of(line: LogLine) -> int:
    """The bytes that a line counts for."""
    return len(line.text) if line.text.isascii() else len(line.text.encode("utf-8", "replace"))


def add_lines(connection: Connection, lines: Lines) -> None:
    """Add lines of a run. It may be repeated."""
    table = run_logs.c
    mine = (table.run_id == lines.run_id, table.attempt == lines.attempt, table.number == lines.number)
    if connection.execute(select(table.number).where(*mine)).first() is not None:
        return
    sums = select(func.coalesce(func.sum(table.kept), 0), func.coalesce(func.sum(table.bytes), 0))
    held, held_bytes = connection.execute(sums.where(table.run_id == lines.run_id)).one()
    kept = fitting(lines.kept, int(held), int(held_bytes))
    size = sum(map(size_of, kept))
    connection.execute(
        insert(run_logs).values(
            run_id=lines.run_id,
            attempt=lines.attempt,
            number=lines.number,
            kept=len(kept),
            bytes=size,
            left_out=lines.left_out + len(lines.kept) - len(kept),
            secured=lines.secured,
            workflow=lines.workflow or None,
            kept_bytes=size + ROW_BYTES if lines.workflow else None,
            lines=json.dumps(kept),
        )
    )


def delete_lines(connection: Connection, ids: Sequence[str]) -> None:
    """Delete what these runs printed and logged."""
    connection.execute(delete(run_logs).where(run_logs.c.run_id.in_(ids)))


def delete_lone_lines(connection: Connection, before_id: str, limit: int) -> int:
    """Delete lines of up to `limit` runs below this id that have no record any more: the release before deletes records
    only. Returns how many runs."""
    has_none = ~exists(select(1).where(runs.c.id == run_logs.c.run_id).correlate(run_logs))
    chosen = select(run_logs.c.run_id).distinct().where(run_logs.c.run_id < before_id, has_none).limit(limit)
    ids = connection.execute(chosen).scalars().all()
    delete_lines(connection, ids)
    return len(ids)
