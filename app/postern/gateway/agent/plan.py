"""When the agent dials which address, so that it has a link to every live server process. Pure.

A balancer decides which server process a link reaches. So the agent dials until it has reached all that the server
names, first fast, then slowly: a balancer that always chooses the same one ("sticky") would never let it finish.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FAST_EVERY = 0.05
FAST_SECONDS = 5.0
"""How long it dials fast after the missing server processes changed."""
SLOW_EVERY = 5.0
STICKY_SECONDS = 10.0
"""After how long server processes that were never reached are warned of: some turns after the fast dials."""
LOST_SECONDS = 45.0
"""The same where each missing one was reached before: one that ended without a word is in the list for 30 to 40 s."""

DIALS_AT_A_TIME = 4

BACKOFF_FIRST = 0.1
BACKOFF_MOST = 15.0
"""Seconds between failed attempts: any time up to the limit, which doubles (full jitter)."""


LASTING = 5.0
"""Seconds after which a link counts as one that works. After one that ends before, the agent waits as after a failure:
a server or a proxy that ends each link at once would otherwise be dialled 20 times a second."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A link: the address that was dialled, and the server process that it reached. It is `fresh` until it has to be
    replaced."""

    url: str
    node: str
    fresh: bool


@dataclass(slots=True)
class _Way:
    """An address of the server: how often it failed in a row, how many links in a row did not last, and when it may be
    dialled again."""

    failures: int = 0
    brief: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Plan:
    """Decides on the next dial. `urls` are the server's addresses, `rand` gives numbers from 0 to 1."""

    urls: Sequence[str]
    rand: Callable[[], float] = random.random
    _ways: dict[str, _Way] = field(default_factory=dict)
    _wanted: tuple[frozenset[str], frozenset[str]] | None = None
    _since: float = 0.0
    _last: float = float("-inf")
    _turn: int = 0
    _warned: bool = False
    _known: set[str] = field(default_factory=set)

    def next_dial(self, now: float, links: Sequence[Reached], live: Sequence[str]) -> tuple[str, float] | None:
        """The address to dial and the moment, from `now` on; None if nothing is missing. `live` are the server
        processes that the server named last."""
        fresh = [each for each in links if each.fresh]
        missing, unreached = _missing(links, live), self._unreached(links)
        wanted = missing, frozenset(unreached)
        if wanted != self._wanted:
            self._wanted, self._since, self._warned = wanted, now, False
        if fresh and not missing and not unreached:
            return None
        url = min(unreached or self.urls, key=lambda each: (self._way(each).not_before, self._order(each)))
        pace = FAST_EVERY if not fresh or now - self._since < FAST_SECONDS else SLOW_EVERY
        return url, max(now, self._last + pace, self._way(url).not_before)

    def at_a_time(self, links: Sequence[Reached], live: Sequence[str]) -> int:
        """How many dials may be in progress."""
        return min(DIALS_AT_A_TIME, max(1, len(_missing(links, live)), len(self._unreached(links))))

    def dialled(self, url: str, now: float) -> None:
        """The address is being dialled."""
        self._last = now
        self._turn = self.urls.index(url) + 1

    def failed(self, url: str, now: float) -> float:
        """There is no link. Returns after how many seconds the address is dialled again."""
        way = self._way(url)
        way.failures += 1
        return self._back_off(way, way.failures, now)

    def ended(self, url: str, now: float, lasted: float) -> float:
        """A link that this end did not end lasted so many seconds. Returns after how many seconds the address is
        dialled again."""
        way = self._way(url)
        way.brief = way.brief + 1 if lasted < LASTING else 0
        return self._back_off(way, way.brief, now) if way.brief else 0.0

    def succeeded(self, url: str) -> None:
        """There is a link."""
        way = self._way(url)
        way.failures, way.not_before = 0, 0.0

    def sticky(self, now: float, links: Sequence[Reached], live: Sequence[str]) -> tuple[int, int] | None:
        """How many of how many server processes are reached, once, after the fast dials did not reach all."""
        reached = {each.node for each in links}
        self._known |= reached
        self._known &= {*live, *reached}
        missing = frozenset(live) - reached
        patience = LOST_SECONDS if missing <= self._known else STICKY_SECONDS
        if self._warned or not reached or not missing or now - self._since < patience:
            return None
        self._warned = True
        return len(reached & set(live)), len(set(live))

    def _unreached(self, links: Sequence[Reached]) -> list[str]:
        """The addresses without a link, where each is a server process of its own."""
        if len(self.urls) == 1:
            return []
        return [url for url in self.urls if url not in {each.url for each in links if each.fresh}]

    def _back_off(self, way: _Way, times: int, now: float) -> float:
        wait: float = self.rand() * min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(times - 1, 16))
        way.not_before = now + wait
        return wait

    def _way(self, url: str) -> _Way:
        return self._ways.setdefault(url, _Way())

    def _order(self, url: str) -> int:
        return (self.urls.index(url) - self._turn) % len(self.urls)


def _missing(links: Sequence[Reached], live: Sequence[str]) -> frozenset[str]:
    return frozenset(live) - {each.node for each in links if each.fresh}
