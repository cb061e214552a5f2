"""How many runs of a list are newer than the newest one that is shown."""

from typing import NamedTuple

from sqlalchemy import Connection, Select, func, select

from postern.journal.reading.filters import RunFilter, Way, way_of_runs

MOST_COUNTED = 99
MOST_EXAMINED = 1000
"""Rows of the list's index that are examined."""


class Newer(NamedTuple):
    """The number of newer runs that were found. `more` means that there may be others, which were not examined."""

    number: int
    more: bool


def newer_runs(connection: Connection, filters: RunFilter, above: str) -> Newer:
    """The runs of this list with ids above this one, counted within bounds."""
    way = way_of_runs(filters, connection.dialect.name)
    column = way.table.c.id  # one bound at each end, as in `Way.between`
    lower = column > above if way.lowest is None or way.lowest <= above else column >= way.lowest
    upper = () if way.highest is None else (column < way.highest,)
    ids = _upwards(select(column).where(*way.along, lower, *upper), way)
    top = connection.execute(ids.limit(1).offset(MOST_EXAMINED - 1)).scalar()
    upper = upper if top is None else (column <= top,)
    matching = select(column).where(*way.along, lower, *upper, *way.rest)
    some = _upwards(matching, way).limit(MOST_COUNTED + 1).subquery()
    number = int(connection.execute(select(func.count()).select_from(some)).scalar_one())
    return Newer(min(number, MOST_COUNTED), top is not None or number > MOST_COUNTED)


def _upwards(query: Select[tuple[str]], way: Way) -> Select[tuple[str]]:
    """Oldest first, along the index of the list."""
    return query.order_by(*([way.lead] if way.lead is not None else []), way.table.c.id)
