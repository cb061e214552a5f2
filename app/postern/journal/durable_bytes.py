"""What a durable run of an anonymous caller takes in the database beside its record, for `journal.storage`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from postern.journal.durable_tables import durable_runs
from postern.journal.writing.rows import COLUMNS

PLACE = COLUMNS.index("kept_bytes")


def with_bytes(connection: Connection, row: Sequence[Any]) -> Sequence[Any]:
    """A row of `runs` that counts what its row of `durable_runs` has: the request, and the whole reply. Runs of callers
    with a token are not counted."""
    if row[PLACE] is None:
        return row
    its, size = durable_runs.c, func.length
    beside = func.coalesce(size(its.request), 0) + func.coalesce(size(its.reply), 0)
    more = connection.execute(select(beside).where(its.run_id == row[0])).scalar() or 0
    return [*row[:PLACE], row[PLACE] + more, *row[PLACE + 1 :]]
