"""The clock of a test: `clock.advance("3d")` moves the time of the application, of its workflows, and of the test."""

import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from postern.testing.failing import KitFailure
from postern.testing.session import SESSION

if TYPE_CHECKING:
    from postern.testing.record import Record

SETTLING = 15.0
"""Real seconds that the runs which are due get, at each stop of the clock."""
MOST_STOPS = 300
"""Stops of the clock in one move. After so many, due times of schedules are passed over, and are missed."""
JUST_AFTER = 0.001
LOOK_EVERY = 0.02
BETWEEN = 0.05
"""Real seconds in which what is due begins: a run is on record 20 ms after its start."""

INSTALL = 'the clock needs time-machine: pip install "postern-workflows[testing]"'


class Clock:
    """Time goes on by itself. `advance` moves it, and `start_at` begins at a moment. Both move what Python says of the
    time of day, everywhere in this process, until the test ends."""

    def __init__(self) -> None:
        self._travel: Any = None
        self._traveller: Any = None

    def __repr__(self) -> str:
        return f"<clock at {self.now:%Y-%m-%dT%H:%M:%S}Z>"

    @property
    def now(self) -> datetime:
        """The time of the test, in UTC."""
        return datetime.fromtimestamp(time.time(), UTC)

    def start_at(self, moment: datetime | str) -> None:
        """Begin at this moment: a `datetime` with a time zone, or a text such as `2026-03-29T00:59:00Z`. The
        application starts again, without the runs of before. Stubs and secrets stay."""
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        if at.tzinfo is None:
            raise ValueError(f"start_at({moment!r}): write the time zone too, as in 2026-03-29T00:59:00Z")
        SESSION.stop()
        self._go_to(at.timestamp())
        SESSION.server.spent = True
        SESSION.now.first = ""  # the database is new

    def advance(self, by: str | float | timedelta, *, schedules: bool = True) -> None:
        """Move the time ahead by seconds, a `timedelta`, or a text such as `3d`, `2h` or `15m`. Runs that sleep,
        wait or are scheduled go on at their times, one after the other, and have gone on when this returns. Without
        `schedules` none starts: the due times that are passed count as missed."""
        from postern.authoring.duration import seconds_of

        seconds = by.total_seconds() if isinstance(by, timedelta) else seconds_of(by, "by")
        SESSION.server.spent = True  # the next test begins at the present
        target = time.time() + seconds
        self._settle(schedules)  # what was accepted a moment ago waits for nothing yet
        for stop in count():
            due = min((at for at in wakes(schedules=schedules and stop < MOST_STOPS) if at <= target), default=None)
            self._jump((target if due is None else due) - time.time())
            self._settle(schedules)
            if due is None:
                break
        SESSION.check()

    def _jump(self, seconds: float) -> None:
        """Move the clock once."""
        if seconds <= 0:
            return
        self._go_to(time.time() + seconds)
        SESSION.server.advance(seconds)
        time.sleep(BETWEEN)

    def _go_to(self, moment: float) -> None:
        if self._traveller is None:
            try:
                import time_machine
            except ImportError:
                raise KitFailure(INSTALL) from None
            self._travel = time_machine.travel(moment, tick=True)
            self._traveller = self._travel.start()
            SESSION.at_end.append(self._back)
        else:
            self._traveller.move_to(moment, tick=True)

    def _back(self) -> None:
        """The test has ended. The application stops first: for it, time never goes back."""
        SESSION.stop()
        travel, self._travel, self._traveller = self._travel, None, None
        if travel is not None:
            travel.stop()

    def _settle(self, schedules: bool) -> None:
        """Wait until the runs that are due have gone on."""
        until = time.perf_counter() + SETTLING
        SESSION.server.look(schedules=schedules)
        while moving := [run for run in SESSION.server.unended() if _moves(run)]:
            if time.perf_counter() > until:
                found = ", ".join(f"{run.workflow} ({run.state})" for run in moving)
                raise KitFailure(f"These runs have not come to rest within {SETTLING:g} s: {found}.")
            time.sleep(LOOK_EVERY)
            SESSION.server.look(schedules=schedules)


def wakes(*, schedules: bool = True) -> list[float]:
    """When runs that wait go on by themselves, and the next one of `schedules` starts, in Unix seconds."""
    found = [run.durable.wakes_at for run in SESSION.server.unended() if run.durable is not None]
    scheduled = SESSION.server.next_due() if schedules else None
    own = [] if scheduled is None else [scheduled + JUST_AFTER]
    return own + [datetime.fromisoformat(at).timestamp() for at in found if at is not None]


def _moves(run: "Record") -> bool:
    """Whether a run goes on without another move of the clock. An inline run may sleep: it is not waited for."""
    durable = run.durable
    if durable is None:
        return False
    if durable.phase in ("ready", "running"):
        return True
    at = durable.wakes_at
    return durable.phase == "waiting" and at is not None and datetime.fromisoformat(at).timestamp() <= time.time()


clock = Clock()
