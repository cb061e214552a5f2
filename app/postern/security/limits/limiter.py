"""Counts requests against rates, by the generic cell rate algorithm (GCRA, ITU-T I.371): one number for each client and
rate. A client may send its whole rate at once, and gets it back evenly.

Times are whole nanoseconds of a monotonic clock. The response fields are those of
draft-ietf-httpapi-ratelimit-headers-10, in structured fields (RFC 9651).
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Literal, NamedTuple

from postern.settings.security import Limit, Limits, Rate

MOST_REMEMBERED = 100_000
"""Clients whose requests are counted for each rate, about 15 MiB. With more, those that have used least of their rate
are forgotten and have all of it again: refusing new ones instead would let a flood shut others out."""

FORGOTTEN = 0.1
"""The part of the clients that is forgotten at a time, because finding them takes a look at all."""

MOST_SAID = 10_000
"""Values of RateLimit that are kept for each rate."""

Of = Literal["caller", "address"]

_SECOND = 1_000_000_000
_UNITS = {1: "second", 60: "minute", 3600: "hour"}


class Quota(NamedTuple):
    """A rate with its place in the settings. `name` is its name in response fields, `place` for operators."""

    name: str
    place: str
    rate: Rate

    @property
    def text(self) -> str:
        """The rate as the settings write it."""
        return f"{self.rate.requests}/{_UNITS[self.rate.seconds]}"


Header = tuple[bytes, bytes]


@dataclass(slots=True, eq=False)
class Taken:
    """What became of a request. `exceeded` is the quota that is used up, None if there is room in all of them.
    `retry_after` is in whole seconds. `headers` are RateLimit-Policy and RateLimit."""

    exceeded: Quota | None
    retry_after: int
    headers: tuple[Header, Header]
    _before: tuple[Header, ...] | None = field(default=None, init=False)
    _all: tuple[Header, ...] = field(default=(), init=False)
    """What was returned for `_before`, which is nearly always the same tuple."""

    def behind(self, before: tuple[Header, ...]) -> tuple[Header, ...]:
        """The fields behind others. Those of two rates are one list each (RFC 9110, section 5.3)."""
        if before is not self._before:
            self._before, self._all = before, _together(before, self.headers)
        return self._all


class Usual(NamedTuple):
    """What counts a request of a client that was counted before and has its whole rate, which is the usual case, in as
    few steps as can be: if it has a `full_at`, and that is before `now()`, set it to that plus `gap`, and `taken`
    became of the request. Any other request is for `Limiter.take`."""

    full_at: dict[Hashable, int]
    now: Callable[[], int]
    gap: int
    taken: Taken


class _Meter:
    """The requests of each client against one rate. `full_at` is when a client has its whole rate again. The level of a
    client is how long that is from now; `gap` is that of one request, and `room` the highest level at which one more
    fits."""

    __slots__ = ("_item", "full_at", "gap", "most", "quota", "room")

    def __init__(self, quota: Quota, most: int) -> None:
        self.quota = quota
        self.gap = max(quota.rate.seconds * _SECOND // quota.rate.requests, 1)
        self.room = (quota.rate.requests - 1) * self.gap
        self._item = b'"%s";r=%%d;t=%%d' % quota.name.encode()
        self.most = most
        self.full_at: dict[Hashable, int] = {}

    def level(self, client: Hashable, now: int) -> int:
        return max(self.full_at.get(client, 0) - now, 0)

    def set(self, client: Hashable, level: int, now: int) -> None:
        self.full_at[client] = now + level
        if len(self.full_at) > self.most:
            self.forget(now)

    def forget(self, now: int) -> None:
        """Make room: forget those that have their whole rate again, and if these are few, those that have used least of
        it."""
        room = max(int(self.most * FORGOTTEN), 1)
        gone = [client for client, full_at in self.full_at.items() if full_at <= now]
        if len(gone) < room:
            gone = sorted(self.full_at, key=self.full_at.__getitem__)[:room]
        for client in gone:
            del self.full_at[client]

    def give_back(self, client: Hashable) -> None:
        if client in self.full_at:
            self.full_at[client] -= self.gap

    def item(self, level: int) -> bytes:
        """Its item of RateLimit: what remains, and the seconds until there is more."""
        used = -(-level // self.gap)
        wait = level - (used - 1) * self.gap if used else 0
        return self._item % (max(self.quota.rate.requests - used, 0), -(-wait // _SECOND))


class _Meters:
    """The meters of the requests to one workflow, and their RateLimit-Policy. `quick` is the only one of them, if there
    is one and its clients get a request back within a second: what is said of an admitted request depends on how many
    were used then, and `said` has it. `first` is said of the first request of a client that has its whole rate."""

    __slots__ = ("every", "first", "policy", "quick", "said")

    def __init__(self, every: tuple[_Meter, ...]) -> None:
        self.every = every
        quotas = [meter.quota for meter in every]
        policy = ", ".join(f'"{each.name}";q={each.rate.requests};w={each.rate.seconds}' for each in quotas)
        self.policy = policy.encode()
        self.quick = every[0] if len(every) == 1 and every[0].gap <= _SECOND else None
        self.said: dict[int, Taken] = {}
        self.first = self.taken(1, self.quick.gap) if self.quick is not None else None

    def taken(self, used: int, level: int) -> Taken:
        """What is said of an admitted request of the quick meter."""
        made = Taken(None, 0, _headers(self.policy, self.every[0].item(level)))
        if len(self.said) < MOST_SAID:
            self.said[used] = made
        return made


class Limiter:
    """Counts the requests of callers or addresses in this process. It belongs to one event loop."""

    def __init__(
        self, limits: Limits, of: Of, *, now: Callable[[], int] = monotonic_ns, most: int = MOST_REMEMBERED
    ) -> None:
        self._now = now
        rate = _rate(limits, of)
        common = (_meter(of, rate, most),) if rate is not None else ()
        self._common = _Meters(common)
        self._of_workflow: Mapping[str, _Meters] = {
            name: _Meters((*common, _meter(of, found, most, name)))
            for name, limit in limits.workflows.items()
            if (found := _rate(limit, of)) is not None
        }

    @property
    def limits_anything(self) -> bool:
        """Whether the settings have a rate of this kind."""
        return bool(self._common.every or self._of_workflow)

    @property
    def usual(self) -> Usual | None:
        """How to count most requests; None if workflows have rates of their own, or the rate gives less than a request
        a second back."""
        common = self._common
        if self._of_workflow or common.quick is None or common.first is None:
            return None
        meter = common.quick
        return Usual(meter.full_at, self._now, meter.gap, common.first)

    @property
    def remembered(self) -> int:
        """How many numbers are kept."""
        every = {*self._common.every, *(meter for found in self._of_workflow.values() for meter in found.every)}
        return sum(len(meter.full_at) for meter in every)

    def take(self, workflow: str, client: Hashable) -> Taken | None:
        """Count a request, unless a rate is used up: such a request counts nowhere. None if no rate is for it."""
        special = self._of_workflow
        meters = special.get(workflow, self._common) if special else self._common
        if (meter := meters.quick) is None:
            return _take(meters, client, self._now()) if meters.every else None
        full_at, gap, now = meter.full_at, meter.gap, self._now()
        level = full_at.get(client, 0) - now
        if level <= 0:  # the usual case, if the rate is what it should be
            full_at[client] = now + gap
            if len(full_at) > meter.most:
                meter.forget(now)
            return meters.first
        if level > meter.room:
            return _take(meters, client, now)
        level += gap
        full_at[client] = now + level
        used = -(-level // gap)
        return meters.said.get(used) or meters.taken(used, level)

    def give_back(self, workflow: str, client: Hashable) -> None:
        """Undo the count of a request."""
        for meter in self._of_workflow.get(workflow, self._common).every:
            meter.give_back(client)


def _take(meters: _Meters, client: Hashable, now: int) -> Taken:
    """Count a request against all these rates, or against none of them."""
    levels = [meter.level(client, now) for meter in meters.every]
    waits = [level - meter.room for meter, level in zip(meters.every, levels, strict=True)]
    longest = max(waits)
    exceeded = meters.every[waits.index(longest)].quota if longest > 0 else None
    for place, meter in enumerate(meters.every):
        if exceeded is None:
            levels[place] += meter.gap
            meter.set(client, levels[place], now)
    limit = b", ".join(meter.item(level) for meter, level in zip(meters.every, levels, strict=True))
    return Taken(exceeded, max(-(-longest // _SECOND), 0), _headers(meters.policy, limit))


def _together(before: tuple[Header, ...], headers: tuple[Header, Header]) -> tuple[Header, ...]:
    if not before or before[-1][0] != headers[1][0]:
        return (*before, *headers)
    both = zip(before[-2:], headers, strict=True)
    return (*before[:-2], *((name, first + b", " + second) for (name, first), (_, second) in both))


def _headers(policy: bytes, limit: bytes) -> tuple[Header, Header]:
    return (b"ratelimit-policy", policy), (b"ratelimit", limit)


def _rate(limit: Limit, of: Of) -> Rate | None:
    return limit.per_caller if of == "caller" else limit.per_address


def _meter(of: Of, rate: Rate, most: int, workflow: str = "") -> _Meter:
    table = f"limits.workflows.{workflow}" if workflow else "limits"
    name = f"workflow-{of}" if workflow else of
    return _Meter(Quota(name, f"per_{of} of [{table}]", rate), most)
