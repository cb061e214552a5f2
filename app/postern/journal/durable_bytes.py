"""What a durable run of an anonymous caller takes in the database beside its record, for `journal.storage`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from postern.journal.durable_tables import durable_runs
from postern.journal.writing.rows import COLUMNS

PLACE = COLUMNS.index("kept_bytes")


def with_bytes(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Rows of `runs` that count what their rows of `durable_runs` have: the request, and the whole reply. Runs of
    callers with a token are not counted."""
    counted = [row[0] for row in rows if row[PLACE] is not None]
    if not counted:
        return list(rows)
    its, size = durable_runs.c, func.length
    beside = func.coalesce(size(its.request), 0) + func.coalesce(size(its.reply), 0)
    more: dict[str, int] = dict(
        map(tuple, connection.execute(select(its.run_id, beside).where(its.run_id.in_(counted))))
    )
    return [[*row[:PLACE], row[PLACE] + more[row[0]], *row[PLACE + 1 :]] if row[0] in more else row for row in rows]
