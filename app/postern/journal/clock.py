"""The time by which records and keys are old.

One wrong clock must not delete everybody's records. On PostgreSQL the database's clock decides, which is one for all
server processes; on SQLite it is this machine's. Neither is simply believed: the table `clock` has the time that is
confirmed by time that passed. It goes back with the clock, but forward at most CATCH_UP times as fast as time passes
for a server process. So a clock that is days ahead for some minutes makes nothing old, and after a long stop of all
servers, old records go a little later.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, text, update

from postern.ids import time_of
from postern.journal.schema import clock, runs

CATCH_UP = 24
"""Seconds that the confirmed time goes forward at most in a second: a day in an hour."""
TOLERANCE = 600.0
"""Seconds by which a clock may differ from the time that passed between two looks."""
ANCHOR = 60.0
"""Seconds until the database's clock is read again for keys."""
_ROW = 1


@dataclass(frozen=True, slots=True)
class Look:
    """What the clock showed (Unix seconds), which time was confirmed, and when that was by `uptime`."""

    wall: float
    confirmed: float
    at: float


@dataclass(frozen=True, slots=True)
class Times:
    """For a key that is claimed now: its time, and the moment since which keys are not old."""

    now: float
    fresh_since: float


def uptime() -> float:
    """Seconds that no change of the clock changes, with those in which the machine slept where that is known."""
    sleeping = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if sleeping is None else time.clock_gettime(sleeping)


def confirm(confirmed: float, wall: float, passed: float) -> float:
    """The time that is confirmed when so many seconds have passed since `confirmed` was, and the clock shows `wall`."""
    return min(wall, confirmed + max(passed, 0.0) * CATCH_UP)


def jump(before: Look, now: Look) -> float:
    """Seconds by which the clock went forward more than time passed; 0 if it is within TOLERANCE."""
    ahead = (now.wall - before.wall) - (now.at - before.at)
    return ahead if abs(ahead) > TOLERANCE else 0.0


def wall_clock(connection: Connection, own: float) -> float:
    """The clock of the database, if it has one; otherwise `own`, which is this machine's."""
    if connection.dialect.name != "postgresql":
        return own
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def look(connection: Connection, own: float, at: float) -> Look:
    """Read the clock. If no time was confirmed yet, the clock's is, or that of the newest run if it is earlier."""
    wall = wall_clock(connection, own)
    confirmed = _confirmed(connection)
    if confirmed is None:
        newest = connection.execute(select(func.max(runs.c.id))).scalar()
        confirmed = min(wall, time_of(newest)) if newest else wall
        connection.execute(insert(clock).values(id=_ROW, confirmed_at=confirmed))
    return Look(wall, confirmed, at)


def advance(connection: Connection, own: float, since: Look, at: float) -> Look:
    """Confirm the time that passed since that look. Several server processes that do it at once confirm no more than
    one of them."""
    wall = wall_clock(connection, own)
    confirmed = confirm(since.confirmed, wall, at - since.at)
    found = _confirmed(connection)
    if found is not None:
        confirmed = min(wall, max(found, confirmed))
    connection.execute(update(clock).where(clock.c.id == _ROW).values(confirmed_at=confirmed))
    return Look(wall, confirmed, at)


def times_of_key(connection: Connection, own: float, kept_for: float, passed: Callable[[], float] = uptime) -> Times:
    """The times for a key, by the clock as it was up to ANCHOR seconds ago and the time that passed since."""
    at = passed()
    anchor = connection.info.get(_ANCHORED)
    if anchor is None or not 0 <= at - anchor.at <= ANCHOR:
        wall, confirmed = wall_clock(connection, own), _confirmed(connection)
        anchor = connection.info[_ANCHORED] = Look(wall, wall if confirmed is None else confirmed, at)
    wall = anchor.wall + at - anchor.at
    return Times(max(wall, anchor.confirmed), min(wall, anchor.confirmed) - kept_for)


_ANCHORED = "postern-clock"


def _confirmed(connection: Connection) -> float | None:
    return connection.execute(select(clock.c.confirmed_at).where(clock.c.id == _ROW)).scalar()
