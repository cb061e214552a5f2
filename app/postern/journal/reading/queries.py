"""What is asked of the journal: one run, and pages of runs and refusals. Functions of a connection, on SQLite and
PostgreSQL alike.

Pages are found by key: each begins below the last id of the one before, so that new runs move nothing. A page is read
along one index, in order, and never looks at more than MOST_CANDIDATES rows or much longer than MOST_SECONDS: where
few of them fulfil the filters it may be short or even empty, and the next one goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Row, Select, select, update

from postern.journal.reading.cursor import opened, sealed
from postern.journal.reading.filters import RefusalFilter, RunFilter, Way, way_of_refusals, way_of_runs
from postern.journal.reading.records import (
    UNENDED,
    CallRecord,
    RefusalRecord,
    RunRecord,
    call_record,
    refusal_record,
    run_record,
    step_record,
)
from postern.journal.schema import calls, refusals, runs, steps

MOST_CANDIDATES = 10_000
MOST_SECONDS = 0.02
FIRST_WINDOW = 32
LAST_WINDOW = 1024
GROWTH = 4
"""Rows that are looked at in one go: few at first, because bodies may be large, then GROWTH times as many each time,
and never so many that a disk which is slow all at once would hold up the page for long."""

MOST_CALLS = 1000
"""Calls that the record of a run shows."""

NOT_LISTED = frozenset({"request", "inputs", "inputs_form", "outputs", "outputs_form", "reply_headers"})
LISTED = tuple(column for column in runs.c if column.name not in NOT_LISTED)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, newest first. `next` is the cursor of the part behind it, None at the end of the list."""

    items: tuple[T, ...]
    next: str | None


def find_run(connection: Connection, run_id: str) -> RunRecord | None:
    """The whole record of a run, with its steps and calls in order, or None where there is none of this id."""
    row = connection.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        return None
    asked = select(steps).where(steps.c.run_id == run_id).order_by(steps.c.number)
    made = calls_of(connection, [run_id], MOST_CALLS)
    return run_record(row, tuple(map(step_record, connection.execute(asked))), tuple(call for _, call in made))


def calls_of(connection: Connection, run_ids: Sequence[str], limit: int) -> list[tuple[str, CallRecord]]:
    """The first calls of these runs, each with the id of its run, in the order in which they were made."""
    asked = (
        select(calls, runs.c.caller_kind)
        .outerjoin(runs, runs.c.id == calls.c.child_run_id)
        .where(calls.c.run_id.in_(run_ids))
        .order_by(calls.c.run_id, calls.c.number)
        .limit(limit)
    )
    return [(row.run_id, call_record(row)) for row in connection.execute(asked)]


def list_runs(
    connection: Connection,
    asked: RunFilter,
    cursor: str | None = None,
    limit: int = 50,
    clock: Callable[[], float] = perf_counter,
) -> Page[RunRecord]:
    """A page of runs, newest first. Raises Problem `bad-filter` where the cursor is of another list."""
    below = opened(asked, cursor) if cursor is not None else None
    rows, last = _page(connection, way_of_runs(asked, connection.dialect.name), LISTED, below, limit, clock)
    return Page(tuple(map(run_record, rows)), sealed(asked, last) if last is not None else None)


def list_refusals(
    connection: Connection,
    asked: RefusalFilter,
    cursor: str | None = None,
    limit: int = 50,
    clock: Callable[[], float] = perf_counter,
) -> Page[RefusalRecord]:
    """A page of refusals, newest first. Raises Problem `bad-filter` where the cursor is of another list."""
    below = opened(asked, cursor) if cursor is not None else None
    way = way_of_refusals(asked, connection.dialect.name)
    rows, last = _page(connection, way, tuple(refusals.c), below, limit, clock)
    return Page(tuple(map(refusal_record, rows)), sealed(asked, last) if last is not None else None)


def request_cancel(connection: Connection, run_id: str, now: float) -> bool:
    """Put on record that a run is to be cancelled, for the process that runs it. False where it has ended, or was never
    there. Harmless twice: the first time stays."""
    chosen = (runs.c.id == run_id) & runs.c.state.in_([state.value for state in UNENDED])
    changed = connection.execute(
        update(runs).where(chosen, runs.c.cancel_requested_at.is_(None)).values(cancel_requested_at=now)
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
    """The rows of a page, and the id behind which the next one begins, or None where nothing is left."""
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
        larger = min(size * GROWTH, LAST_WINDOW, MOST_CANDIDATES - looked_at)
        now = clock()
        if larger <= 0 or (now - began) + (now - before) * larger / size > MOST_SECONDS:
            return found, bottom
        before, size = now, larger


def bottom_of_window(way: Way, below: str | None, size: int) -> Select[Any]:
    """The id of the last of the next `size` rows along the index; there is none where fewer are left. The index has all
    that is looked at."""
    ids = select(way.table.c.id).where(*way.along)
    if below is not None:
        ids = ids.where(way.table.c.id < below)
    return _ordered(ids, way).limit(1).offset(size - 1)


def rows_of_window(way: Way, columns: Sequence[Any], below: str | None, bottom: str | None, limit: int) -> Select[Any]:
    """Of the rows below `below` down to `bottom`, those that fulfil all conditions, `limit` at most. The ids bound the
    window, so that rows which came since cannot move it."""
    rows = select(*columns).where(*way.along, *way.rest)
    if below is not None:
        rows = rows.where(way.table.c.id < below)
    if bottom is not None:
        rows = rows.where(way.table.c.id >= bottom)
    return _ordered(rows, way).limit(limit)


def _ordered(query: Select[Any], way: Way) -> Select[Any]:
    """Newest first. The leading column is the same in all rows; PostgreSQL has to read its name here to go along the
    index where it is NULL."""
    return query.order_by(*([way.lead.desc()] if way.lead is not None else []), way.table.c.id.desc())
