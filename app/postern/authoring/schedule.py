"""Schedules, as authors write them: a cron expression and a time zone. Pure, but for the system's table of zones.

CronSim follows Debian's cron, also where clocks change for summer time (`schedules/README.md`). It and the table of
zones are imported by the first schedule.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import chain, count, islice, takewhile
from math import inf
from typing import Literal

from postern.authoring.signature import WorkflowFault

Missed = Literal["skip", "once"]
MISSED = ("skip", "once")
DEFAULT_ZONE = "UTC"
LONGEST = 200
"""Characters of an expression."""
NEXT_TIMES = 3
"""Due times that are shown of a schedule."""
_NOTHING, _HOUR, _WEEK = timedelta(0), timedelta(hours=1), timedelta(weeks=1)
OVERLAP = timedelta(hours=27)
"""A clock that is put back shows times again. Whoever looks back starts this much later, so that none is overlooked.
Samoa and Kwajalein once changed by a whole day."""

_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, L for the last day, or LW for the last weekday"),
    ("month", "1-12 or JAN-DEC"),
    ("day of the week", "0-7 or SUN-SAT (0 and 7 are Sunday), 5L for the last Friday, 1#2 for the second"),
)
FORM = "write five fields: minute, hour, day of the month, month, day of the week"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a workflow starts by the clock. `expression` has cron's five fields, `timezone` is a name of the IANA
    database. `missed` says what follows a time at which no server process ran."""

    expression: str
    timezone: str = DEFAULT_ZONE
    missed: Missed = "skip"

    @property
    def text(self) -> str:
        """What decides its times: two schedules with the same text are due at the same times."""
        return f"{self.expression} {self.timezone}"

    def after(self, moment: float) -> Iterator[float]:
        """The due times after this one, in Unix seconds, in their order."""
        zone, latest = _zone(self.timezone), moment
        start, earlier = datetime.fromtimestamp(moment, zone), datetime.fromtimestamp(moment - 7200, zone)
        before = earlier if _is_uneven(earlier, start) else start
        for due in self._times(before):
            if (at := due.timestamp()) > moment:  # a time that the clock shows twice is due at the first
                if _is_uneven(before, due):
                    yield from reversed([each for each in self._back(at, latest) if each < at])
                yield at
                before, latest = due, at

    def latest(self, moment: float) -> float | None:
        """The last due time until this one, in Unix seconds. None if there was none in the last 50 years."""
        found = next(self._back(moment), None)
        if found is None:
            return None
        earlier, start = datetime.fromtimestamp(found, _zone(self.timezone)), self._start_back(moment)
        if not _is_uneven(earlier, start):
            return found
        later = takewhile(lambda at: at <= moment, (due.timestamp() for due in self._times(earlier)))
        return max(later, default=found)

    def _back(self, moment: float, until: float = -inf) -> Iterator[float]:
        """The due times up to this one, the latest first, and after `until`."""
        times = (due.timestamp() for due in self._times(self._start_back(moment), reverse=True))
        return takewhile(lambda at: at > until, (at for at in times if at <= moment))

    def _start_back(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, _zone(self.timezone)) + OVERLAP

    def _times(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        from cronsim import CronSim

        return CronSim(self.expression, start, reverse=reverse)

    def next_times(self, moment: float, count: int) -> list[datetime]:
        """The next due times, as the clocks of the zone show them."""
        return [datetime.fromtimestamp(at, _zone(self.timezone)) for at in islice(self.after(moment), count)]


def _is_uneven(before: datetime, after: datetime) -> bool:
    """Whether the clocks have changed by a part of an hour between the two, as on Lord Howe Island, also if they have
    changed back since: they stay so for longer than a week. CronSim goes on by whole hours there, and may step over a
    time."""
    weeks = takewhile(lambda each: each < after, (before + number * _WEEK for number in count()))
    return any((_offset(each) - _offset(before)) % _HOUR != _NOTHING for each in chain([after], weeks))


def _offset(of: datetime) -> timedelta:
    return of.utcoffset() or _NOTHING


def schedule_of(expression: object, zone: object, missed: object) -> Schedule | None:
    """The schedule that an author wrote; None if there is none. Raises WorkflowFault."""
    if expression is None:
        for option, value in (("timezone", zone), ("missed", missed)):
            if value is not None:
                raise WorkflowFault(
                    f'{option}={value!r} needs a schedule: write schedule="0 7 * * MON-FRI", or leave it out'
                )
        return None
    if missed not in (None, *MISSED):
        raise WorkflowFault(f'missed={missed!r}: write missed="skip", which is the default, or missed="once"')
    zone_name = _checked_zone(zone)
    fields = _checked_fields(expression)
    schedule = Schedule(" ".join(fields), zone_name, "once" if missed == "once" else "skip")
    if next(schedule.after(0.0), None) is None:
        raise _never(schedule.expression)
    return schedule


def _checked_fields(expression: object) -> list[str]:
    if not isinstance(expression, str) or len(expression) > LONGEST:
        raise WorkflowFault(f"schedule= takes a cron expression, a text of at most {LONGEST} characters: {FORM}")
    fields = expression.upper().split()
    if len(fields) != len(_FIELDS) or not expression.isascii():
        raise WorkflowFault(f'schedule={expression!r}: {FORM}, like schedule="0 7 * * MON-FRI"')
    from cronsim import CronSim, CronSimError

    start = datetime.fromtimestamp(0.0, UTC)
    for place, (words, allowed) in enumerate(_FIELDS):
        alone = ["*"] * len(_FIELDS)
        alone[place] = fields[place]
        try:
            CronSim(" ".join(alone), start)
        except (CronSimError, ValueError, TypeError):
            raise WorkflowFault(
                f"schedule={expression!r}: the {words}, {fields[place]!r}, is not valid. Allowed: {allowed}; "
                "* for any, lists 1,15, ranges 1-5 and steps */10"
            ) from None
    try:
        CronSim(" ".join(fields), start)
    except CronSimError:
        raise _never(expression) from None
    return fields


def _never(expression: str) -> WorkflowFault:
    return WorkflowFault(
        f"schedule={expression!r} never comes: no month of the fourth field has the day of the third. Correct the day "
        "of the month or the month"
    )


def _checked_zone(zone: object) -> str:
    if zone is None:
        return DEFAULT_ZONE
    from zoneinfo import ZoneInfoNotFoundError, available_timezones

    try:
        _zone(str(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        from difflib import get_close_matches

        places = [name for name in available_timezones() if "/" in name]  # CEST is not EST
        near = get_close_matches(str(zone), places, 1, 0.5)
        hint = f". Did you mean {near[0]!r}?" if near else ', like timezone="Europe/Madrid"'
        raise WorkflowFault(f"timezone={zone!r} is not a name of the IANA time zone database{hint}") from None
    return str(zone)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == DEFAULT_ZONE:
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
