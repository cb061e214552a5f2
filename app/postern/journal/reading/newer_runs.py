"""How many runs of a list are newer than the newest one that is shown."""

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from sqlalchemy import Connection, Select, func, select

from postern.journal.reading.filters import Condition, RunFilter, Way, way_of_runs
from postern.journal.reading.queries import FIRST_WINDOW, next_window

MOST_COUNTED = 99
MOST_EXAMINED = 1000
"""Rows of the list's index that are examined."""


class Newer(NamedTuple):
    """The number of newer runs that were found. `more` means that there may be others, which were not examined."""

    number: int
    more: bool


def newer_runs(
    connection: Connection, filters: RunFilter, above: str, clock: Callable[[], float] = perf_counter
) -> Newer:
    """The runs of this list with ids above this one, counted within bounds: as in a page of the list, few rows are
    examined at first, because bodies in which a text is searched may be large, and no more than MOST_SECONDS are
    spent."""
    way = way_of_runs(filters, connection.dialect.name)
    column = way.table.c.id  # one bound at each end, as in `Way.between`
    lower = column > above if way.lowest is None or way.lowest <= above else column >= way.lowest
    upper = () if way.highest is None else (column < way.highest,)
    number, looked_at = 0, 0
    size = FIRST_WINDOW if way.rest else MOST_EXAMINED
    began = before = clock()
    while True:
        ids = _upwards(select(column).where(*way.along, lower, *upper), way)
        top = connection.scalar(ids.limit(1).offset(size - 1))
        bounds = (lower, *(upper if top is None else (column <= top,)))
        number += _counted(connection, way, bounds, MOST_COUNTED + 1 - number)
        if number > MOST_COUNTED or top is None:
            return Newer(min(number, MOST_COUNTED), number > MOST_COUNTED)
        lower = column > top
        looked_at += size
        now = clock()
        larger = next_window(size, MOST_EXAMINED - looked_at, now - began, now - before, MOST_EXAMINED)
        if not larger:
            return Newer(number, True)
        before, size = now, larger


def _counted(connection: Connection, way: Way, bounds: tuple[Condition, ...], most: int) -> int:
    matching = select(way.table.c.id).where(*way.along, *bounds, *way.rest)
    some = _upwards(matching, way).limit(most).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _upwards(query: Select[tuple[str]], way: Way) -> Select[tuple[str]]:
    """Oldest first, along the index of the list."""
    return query.order_by(*([way.lead] if way.lead is not None else []), way.table.c.id)
