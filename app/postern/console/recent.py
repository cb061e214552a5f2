"""Values that many viewers look at and that are expensive to read: each is read once in a while for all of them. It
belongs to one event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

SECONDS = 10.0
MOST_KEPT = 200
"""Values that are kept, of those that are not too old. If there are more, the oldest one is dropped."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    flight: "asyncio.Future[T]"
    until: float


class Recent(Generic[T]):
    """Values by key, none older than `seconds`. Those who want one while it is read share the read."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[Hashable, _Kept[T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """The value of a key. What `read` raises is raised, and not kept."""
        now = self._clock()
        for old in [each for each, kept in self._kept.items() if now >= kept.until]:
            del self._kept[old]
        kept = self._kept.get(key)
        if kept is None:
            # In a separate context, so that its log lines name no request.
            flight = asyncio.get_running_loop().create_task(_awaited(read), context=Context())
            flight.add_done_callback(lambda done: self._landed(key, done))
            kept = self._kept[key] = _Kept(flight, now + self._seconds)
            while len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return await asyncio.shield(kept.flight)

    def _landed(self, key: Hashable, flight: "asyncio.Future[T]") -> None:
        """Forget a read that failed: those who waited for it know, and the next one tries again."""
        if flight.cancelled() or flight.exception() is not None:
            kept = self._kept.get(key)
            if kept is not None and kept.flight is flight:
                del self._kept[key]


async def _awaited(read: Callable[[], Awaitable[T]]) -> T:
    return await read()
