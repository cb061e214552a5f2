"""How many runs began in each minute, how many of them failed, and how long they took. A read touches a bounded number
of rows, whatever the database holds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import quantiles
from typing import Any

from sqlalchemy import Connection, Integer, Row, Select, Text, bindparam, func, select

from postern.ids import id_at, time_of
from postern.journal.reading.filters import UNUSUAL, between
from postern.journal.run import State
from postern.journal.schema import runs

MOST_A_MINUTE = 500
"""Runs that are counted in a minute. If there are more, their number is estimated from the time that these span."""
SAMPLE = 60
"""Runs of a minute whose durations are read, if the hour has more than MOST_A_MINUTE runs."""
MINUTES = 60
MINUTE = 60.0

FAILURES = (State.FAILED, State.TIMED_OUT, State.INTERRUPTED)
"""The states of runs that failed."""

Owner = tuple[str, str]
"""Tenant id and object id of a person."""


@dataclass(frozen=True, slots=True)
class Minute:
    """The runs that began in a minute. `at` is its begin in Unix seconds, `median` and `most` are the durations within
    which half and 95 % of them ended, None if none ended. `estimated` says that `total` is an estimate."""

    at: float
    total: int = 0
    failed: int = 0
    median: float | None = None
    most: float | None = None
    estimated: bool = False


def activity(connection: Connection, now: float, owner: Owner | None = None, minutes: int = MINUTES) -> list[Minute]:
    """The minutes until now, oldest first; with an `owner` only the runs that this person started. The time of a run is
    that of its id: when its request arrived."""
    first = (now // MINUTE - minutes + 1) * MINUTE
    begins = [first + number * MINUTE for number in range(minutes)]
    few = _runs(connection, owner, first, minutes * MINUTE, MOST_A_MINUTE + 1)
    if len(few) <= MOST_A_MINUTE:
        by_minute: dict[float, list[Row[Any]]] = defaultdict(list)
        for row in few:
            by_minute[time_of(row.id) // MINUTE * MINUTE].append(row)
        return [_minute(begin, by_minute[begin], owner) for begin in begins]
    if owner is not None:
        return [_own_minute(connection, begin, now, owner) for begin in begins]
    failed = _failures(connection, begins, now)
    return [_any_minute(connection, begin, now, failed[begin]) for begin in begins]


def _minute(begin: float, rows: Iterable[Row[Any]], owner: Owner | None) -> Minute:
    """A minute with all of its runs."""
    rows = [row for row in rows if owner is None or row.tenant_id == owner[0]]
    failed = sum(row.state in FAILURES for row in rows)
    return Minute(begin, len(rows), failed, *_durations(rows))


def _own_minute(connection: Connection, begin: float, now: float, owner: Owner) -> Minute:
    """A minute of a person who started very many runs in this hour."""
    rows = _runs(connection, owner, begin, MINUTE, MOST_A_MINUTE)
    found = _minute(begin, rows, owner)
    if len(rows) < MOST_A_MINUTE:
        return found
    scale = _scale(begin, now, rows[-1].id)
    return replace(found, total=round(found.total * scale), failed=round(found.failed * scale), estimated=True)


def _any_minute(connection: Connection, begin: float, now: float, failed: int) -> Minute:
    """A minute of all runs. They are counted in the index of ids."""
    total, estimated = _count(connection, begin, now)
    if not total:
        return Minute(begin, failed, failed)
    sample = _runs(connection, None, begin, MINUTE, SAMPLE)
    return Minute(begin, max(total, failed), failed, *_durations(sample), estimated)


def _failures(connection: Connection, begins: Sequence[float], now: float) -> Counter[float]:
    """How many runs that began in these minutes failed. They are counted in the index of states."""
    found: Counter[float] = Counter()
    for state in FAILURES:
        span = _span(begins[0], len(begins) * MINUTE)
        few = connection.execute(_FAILED_IDS, {"state": state.value, "most": MOST_A_MINUTE + 1, **span}).scalars().all()
        if len(few) <= MOST_A_MINUTE:
            found.update(time_of(id_) // MINUTE * MINUTE for id_ in few)
        else:
            found.update({begin: _count(connection, begin, now, state)[0] for begin in begins})
    return found


def _runs(connection: Connection, owner: Owner | None, begin: float, seconds: float, most: int) -> Sequence[Any]:
    """The first runs that began in these seconds, along the index of ids or of callers."""
    values: dict[str, Any] = {"most": most, **_span(begin, seconds)}
    if owner is None:
        return connection.execute(_ROWS, values).all()
    return connection.execute(_OWN_ROWS, {"object_id": owner[1], **values}).all()


def _count(connection: Connection, begin: float, now: float, state: State | None = None) -> tuple[int, bool]:
    """How many runs there are in a minute, and whether that is an estimate; with a state, how many that failed so."""
    values: dict[str, Any] = {"most": MOST_A_MINUTE, **_span(begin, MINUTE)}
    if state is None:
        total, last = connection.execute(_COUNT, values).one()
    else:
        total, last = connection.execute(_FAILED_COUNT, {"state": state.value, **values}).one()
    if total < MOST_A_MINUTE:
        return total, False
    return round(total * _scale(begin, now, last)), True


def _span(begin: float, seconds: float) -> dict[str, Any]:
    return {"first": id_at(begin), "end": id_at(begin + seconds)}


def _scale(begin: float, now: float, last: str) -> float:
    """How many times as many runs as those until the one with the id `last` there are in its minute."""
    whole = min(MINUTE, max(now - begin, 0.0))
    return max(whole / max(time_of(last) - begin, 0.001), 1.0)


def _durations(rows: Iterable[Row[Any]]) -> tuple[float | None, float | None]:
    """The durations within which half and 95 % of the runs that have ended did so."""
    took = [max(row.ended_at - row.started_at, 0.0) for row in rows if row.ended_at is not None]
    if len(took) < 2:
        return (took[0], took[0]) if took else (None, None)
    cuts = quantiles(took, n=20, method="inclusive")
    return cuts[9], cuts[18]


# The statements are made once: SQLAlchemy takes longer to make one than the database to execute it.


def _counted(ids: Select[Any]) -> Select[int, Any]:
    some = ids.subquery()
    return select(func.count(), func.max(some.c.id)).select_from(some)


_FIRST, _END, _MOST = bindparam("first", type_=Text), bindparam("end", type_=Text), bindparam("most", type_=Integer)
_SHOWN = (runs.c.id, runs.c.tenant_id, runs.c.state, runs.c.started_at, runs.c.ended_at)
_ALL = (runs.c.id >= _FIRST, runs.c.id < _END)
_OWN = between(runs.c.object_id, bindparam("object_id", type_=Text), _FIRST, _END)
_FAILED = (UNUSUAL, *between(runs.c.state, bindparam("state", type_=Text), _FIRST, _END))
_IDS = select(runs.c.id).where(*_ALL).order_by(runs.c.id).limit(_MOST)
_ROWS = select(*_SHOWN).where(*_ALL).order_by(runs.c.id).limit(_MOST)
_OWN_ROWS = select(*_SHOWN).where(*_OWN).order_by(runs.c.object_id, runs.c.id).limit(_MOST)
_FAILED_IDS = select(runs.c.id).where(*_FAILED).order_by(runs.c.state, runs.c.id).limit(_MOST)
_COUNT = _counted(_IDS)
_FAILED_COUNT = _counted(_FAILED_IDS)
