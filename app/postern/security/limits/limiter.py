"""Counts requests against rates, by the generic cell rate algorithm (GCRA, ITU-T I.371): one number for each client and
rate. A client may send its whole rate at once, and gets it back evenly.

Times are whole nanoseconds of a monotonic clock. The response fields are those of
draft-ietf-httpapi-ratelimit-headers-10, in structured fields (RFC 9651).
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from time import monotonic_ns
from typing import Literal, NamedTuple

from postern.settings.security import Limit, Limits, Rate

MOST_REMEMBERED = 100_000
"""Clients of each kind whose requests are counted, about 25 MiB. With more, those that sent nothing for longest are
forgotten and may send their whole rate again: refusing new ones instead would let a flood shut others out."""

Of = Literal["caller", "address"]

_SECOND = 1_000_000_000
_UNITS = {1: "second", 60: "minute", 3600: "hour"}


class Quota(NamedTuple):
    """A rate with its place in the settings. `name` is its name in response fields, `place` for operators. `gap` is the
    time after which one more request may be sent, and `scope` the workflow that it is for, "" for all together."""

    name: str
    place: str
    rate: Rate
    scope: str
    gap: int

    @property
    def text(self) -> str:
        """The rate as the settings write it."""
        return f"{self.rate.requests}/{_UNITS[self.rate.seconds]}"


class Taken(NamedTuple):
    """What became of a request. `exceeded` is the quota that is used up, None if there is room in all of them.
    `retry_after` is in whole seconds. `policy` and `limit` are the values of RateLimit-Policy and RateLimit."""

    exceeded: Quota | None
    retry_after: int
    policy: bytes
    limit: bytes


class _Quotas(NamedTuple):
    """The quotas of the requests to one workflow, and their RateLimit-Policy."""

    quotas: tuple[Quota, ...]
    policy: bytes


class Limiter:
    """Counts the requests of callers or addresses in this process. It belongs to one event loop."""

    def __init__(
        self, limits: Limits, of: Of, *, now: Callable[[], int] = monotonic_ns, most: int = MOST_REMEMBERED
    ) -> None:
        self._now = now
        self._most = most
        rate = _rate(limits, of)
        common = (_quota(of, rate),) if rate is not None else ()
        self._common = _with_policy(common)
        self._of_workflow: Mapping[str, _Quotas] = {
            name: _with_policy((*common, _quota(of, found, name)))
            for name, limit in limits.workflows.items()
            if (found := _rate(limit, of)) is not None
        }
        self._full_at: OrderedDict[tuple[str, Hashable], int] = OrderedDict()

    @property
    def limits_anything(self) -> bool:
        """Whether the settings have a rate of this kind."""
        return bool(self._common.quotas or self._of_workflow)

    @property
    def remembered(self) -> int:
        """How many numbers are kept."""
        return len(self._full_at)

    def take(self, workflow: str, client: Hashable) -> Taken | None:
        """Count a request, unless a rate is used up: such a request counts nowhere. None if no rate is for it."""
        quotas, policy = self._of_workflow.get(workflow, self._common)
        if not quotas:
            return None
        now = self._now()
        levels = [max(self._full_at.get((quota.scope, client), 0) - now, 0) for quota in quotas]
        waits = [level - (quota.rate.requests - 1) * quota.gap for quota, level in zip(quotas, levels, strict=True)]
        longest = max(waits)
        if longest > 0:
            self._keep(quotas, client)
            limit = _limit(quotas, levels)
            return Taken(quotas[waits.index(longest)], -(-longest // _SECOND), policy, limit)
        for place, quota in enumerate(quotas):
            levels[place] += quota.gap
            self._remember((quota.scope, client), now + levels[place])
        return Taken(None, 0, policy, _limit(quotas, levels))

    def give_back(self, workflow: str, client: Hashable) -> None:
        """Undo the count of a request."""
        for quota in self._of_workflow.get(workflow, self._common).quotas:
            key = (quota.scope, client)
            if key in self._full_at:
                self._full_at[key] -= quota.gap

    def _remember(self, key: tuple[str, Hashable], full_at: int) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._most:
            self._full_at.popitem(last=False)

    def _keep(self, quotas: tuple[Quota, ...], client: Hashable) -> None:
        """A client that goes on sending is not forgotten before others."""
        for quota in quotas:
            if (quota.scope, client) in self._full_at:
                self._full_at.move_to_end((quota.scope, client))


def _rate(limit: Limit, of: Of) -> Rate | None:
    return limit.per_caller if of == "caller" else limit.per_address


def _quota(of: Of, rate: Rate, workflow: str = "") -> Quota:
    table = f"limits.workflows.{workflow}" if workflow else "limits"
    name = f"workflow-{of}" if workflow else of
    return Quota(name, f"per_{of} of [{table}]", rate, workflow, max(rate.seconds * _SECOND // rate.requests, 1))


def _limit(quotas: tuple[Quota, ...], levels: list[int]) -> bytes:
    """The value of RateLimit: for each quota what remains, and the seconds until there is more. The levels say how much
    of each is used, as the time until it is whole again."""
    items = []
    for quota, level in zip(quotas, levels, strict=True):
        used = -(-level // quota.gap)
        wait = level - (used - 1) * quota.gap if used else 0
        items.append(f'"{quota.name}";r={max(quota.rate.requests - used, 0)};t={-(-wait // _SECOND)}')
    return ", ".join(items).encode()


def _with_policy(quotas: tuple[Quota, ...]) -> _Quotas:
    policy = ", ".join(f'"{each.name}";q={each.rate.requests};w={each.rate.seconds}' for each in quotas)
    return _Quotas(quotas, policy.encode())
