"""The journal's queries: one run, and pages of runs and refusals. They are functions of a connection, for SQLite and
PostgreSQL alike.

Pages use keyset paging: each begins below the last id of the previous page, so new runs move nothing. A page is read
along one index, in order. It examines at most MOST_CANDIDATES rows and takes little more than MOST_SECONDS. If few rows
fulfil the filters, it may be short or even empty, and the next page continues where it stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Row, Select, select, update

from postern.journal.reading.cursor import opened, sealed
from postern.journal.reading.durable import with_durable
from postern.journal.reading.filters import RefusalFilter, RunFilter, Way, way_of_refusals, way_of_runs
from postern.journal.reading.records import (
    NOT_SHOWN,
    UNENDED,
    CallRecord,
    RefusalRecord,
    RunRecord,
    call_record,
    refusal_record,
    run_record,
    step_record,
)
from postern.journal.schema import FIRST_REQUEST, calls, refusals, runs, steps

MOST_CANDIDATES = 10_000
MOST_SECONDS = 0.014
FIRST_WINDOW = 32
LAST_WINDOW = 1024
GROWTH = 4
"""Rows that are examined in one query: few at first, because bodies may be large, then GROWTH times as many each time.
The limit keeps a disk that is suddenly slow from delaying the page for long."""

MOST_CALLS = 1000
"""Calls that the record of a run shows."""

NOT_LISTED = NOT_SHOWN | {
    *("request", "request_headers", "inputs", "inputs_form", "outputs", "outputs_form", "reply_headers"),
    "error_traceback",
}
WHOLE = tuple(column for column in runs.c if column.name not in NOT_SHOWN)
LISTED = tuple(column for column in runs.c if column.name not in NOT_LISTED)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list, newest first. `next` is the cursor of the next page, None at the end of the list."""

    items: tuple[T, ...]
    next: str | None


def find_run(connection: Connection, run_id: str) -> RunRecord | None:
    """The whole record of a run, with its steps and calls in order, or None if there is no run of this id."""
    row = connection.execute(select(*WHOLE).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        return None
    its_steps = select(steps).where(steps.c.run_id == run_id).order_by(steps.c.number)
    made = calls_of(connection, [run_id], MOST_CALLS)
    record = run_record(row, tuple(map(step_record, connection.execute(its_steps))), tuple(call for _, call in made))
    return with_durable(connection, [record])[0]


def find_run_alone(connection: Connection, run_id: str) -> RunRecord | None:
    """The record of a run without its steps and calls, of which there may be many."""
    row = connection.execute(select(*WHOLE).where(runs.c.id == run_id)).one_or_none()
    return with_durable(connection, [run_record(row)])[0] if row is not None else None


def calls_of(
    connection: Connection, run_ids: Sequence[str], limit: int, *, requests: bool = True
) -> list[tuple[str, CallRecord]]:
    """The first calls of these runs, each with the id of its run, in the order in which they were made; then their
    `requests` by gateways."""
    query = (
        select(calls, runs.c.caller_kind)
        .outerjoin(runs, runs.c.id == calls.c.child_run_id)
        .where(calls.c.run_id.in_(run_ids), *(() if requests else (calls.c.number < FIRST_REQUEST,)))
        .order_by(calls.c.run_id, calls.c.number)
        .limit(limit)
    )
    return [(row.run_id, call_record(row)) for row in connection.execute(query)]


def list_runs(
    connection: Connection,
    filters: RunFilter,
    cursor: str | None = None,
    limit: int = 50,
    clock: Callable[[], float] = perf_counter,
) -> Page[RunRecord]:
    """A page of runs, newest first. Raises Problem `bad-filter` if the cursor is of another list."""
    below = opened(filters, cursor) if cursor is not None else None
    rows, last = _page(connection, way_of_runs(filters, connection.dialect.name), LISTED, below, limit, clock)
    records = with_durable(connection, list(map(run_record, rows)))
    return Page(tuple(records), sealed(filters, last) if last is not None else None)


def list_refusals(
    connection: Connection,
    filters: RefusalFilter,
    cursor: str | None = None,
    limit: int = 50,
    clock: Callable[[], float] = perf_counter,
) -> Page[RefusalRecord]:
    """A page of refusals, newest first. Raises Problem `bad-filter` if the cursor is of another list."""
    below = opened(filters, cursor) if cursor is not None else None
    way = way_of_refusals(filters, connection.dialect.name)
    rows, last = _page(connection, way, tuple(refusals.c), below, limit, clock)
    return Page(tuple(map(refusal_record, rows)), sealed(filters, last) if last is not None else None)


def find_refusal(connection: Connection, refusal_id: str) -> RefusalRecord | None:
    """The refusal whose first request has this id."""
    row = connection.execute(select(refusals).where(refusals.c.id == refusal_id)).one_or_none()
    return refusal_record(row) if row is not None else None


def request_cancel(connection: Connection, run_id: str, now: float, by: str) -> bool:
    """Record the request to cancel a run, for the process that runs it, and who made it (see `journal.run.actor`).
    Returns False if the run has ended or does not exist. It may be repeated: the first request stays."""
    chosen = (runs.c.id == run_id) & runs.c.state.in_([state.value for state in UNENDED])
    changed = connection.execute(
        update(runs)
        .where(chosen, runs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now, cancelled_by=by)
    )
    return changed.rowcount > 0 or connection.execute(select(runs.c.id).where(chosen)).first() is not None


def _page(
    connection: Connection,
    way: Way,
    columns: Sequence[Any],
    below: str | None,
    limit: int,
    clock: Callable[[], float],
) -> tuple[list[Row[Any]], str | None]:
    """The rows of a page, and the id after which the next page begins, or None if nothing is left."""
    found: list[Row[Any]] = []
    looked_at, size = 0, FIRST_WINDOW
    began = before = clock()
    while True:
        bottom = connection.execute(bottom_of_window(way, below, size)).scalar() if way.rest else None
        wanted = limit - len(found)
        rows = connection.execute(rows_of_window(way, columns, below, bottom, wanted + 1)).all()
        found += rows[:wanted]
        if len(rows) > wanted:
            return found, found[-1].id
        if bottom is None or len(found) == limit:
            return found, bottom
        below = bottom
        looked_at += size
        now = clock()
        larger = next_window(size, MOST_CANDIDATES - looked_at, now - began, now - before, LAST_WINDOW)
        if not larger:
            return found, bottom
        before, size = now, larger


def next_window(size: int, left: int, spent: float, last: float, largest: int) -> int:
    """How many rows the next query examines, at most `largest` and `left`; 0 if the page ends here. `spent` are the
    seconds so far, of which the query of `size` rows took the `last` ones: the next one takes as long for each row."""
    larger = min(size * GROWTH, largest, left)
    return larger if larger > 0 and spent + last * larger / size <= MOST_SECONDS else 0


def bottom_of_window(way: Way, below: str | None, size: int) -> Select[Any]:
    """The id of the last of the next `size` rows along the index; none if fewer are left. The index covers this
    query."""
    ids = select(way.table.c.id).where(*way.between(None, below))
    return _ordered(ids, way).limit(1).offset(size - 1)


def rows_of_window(way: Way, columns: Sequence[Any], below: str | None, bottom: str | None, limit: int) -> Select[Any]:
    """Of the rows below `below` down to `bottom`, those that fulfil all conditions, at most `limit`. The window is
    limited by ids, so new rows cannot move it."""
    rows = select(*columns).where(*way.between(bottom, below), *way.rest)
    return _ordered(rows, way).limit(limit)


def _ordered(query: Select[Any], way: Way) -> Select[Any]:
    """Newest first. The leading column is the same in all rows. PostgreSQL needs its name here to use the index if the
    column is NULL."""
    return query.order_by(*([way.lead.desc()] if way.lead is not None else []), way.table.c.id.desc())
