"""Which workflows failed of late, along the index of states: a bounded number of rows, whatever the database holds."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from postern.ids import id_at
from postern.journal.reading.activity import FAILURES
from postern.journal.reading.filters import LAST_ID, SLACK, UNUSUAL, between
from postern.journal.schema import runs

MOST_FAILURES = 500
"""Runs of each state that are looked at, newest first."""


class Failures(NamedTuple):
    """The failed runs of one workflow: how many, and the newest one."""

    number: int
    last_id: str
    last_at: float
    last_error: str


class Recent(NamedTuple):
    """The failures by workflow. `complete` is False if there were more than may be looked at: the counts are then
    too low, and workflows may be missing."""

    workflows: Mapping[str, Failures]
    complete: bool


def recent_failures(connection: Connection, since: float, most: int = MOST_FAILURES) -> Recent:
    """The runs that failed since this time, in Unix seconds, by workflow."""
    columns = (runs.c.id, runs.c.workflow, runs.c.started_at, runs.c.error_type)
    found: dict[str, Failures] = {}
    complete = True
    for state in FAILURES:
        query = (
            select(*columns)
            .where(UNUSUAL, *between(runs.c.state, state.value, id_at(since - SLACK), LAST_ID))
            .order_by(runs.c.state.desc(), runs.c.id.desc())
            .limit(most)
        )
        rows = connection.execute(query).all()
        complete = complete and len(rows) < most
        for row in rows:
            if row.started_at < since:
                continue
            before = found.get(row.workflow, Failures(0, "", 0.0, ""))
            last = Failures(0, row.id, row.started_at, row.error_type or state.value)
            found[row.workflow] = max(before, last, key=lambda each: each.last_id)._replace(number=before.number + 1)
    return Recent(found, complete)
