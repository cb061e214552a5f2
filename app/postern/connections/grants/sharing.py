"""Work that several callers wait for: it is done once for each key, in a task that no caller can stop."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from postern.connections.faults import ConnectionFault

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class StillAtWork(Exception):
    """The work takes longer than its callers wait. It goes on."""


@dataclass(frozen=True, slots=True)
class _Work(Generic[T]):
    task: "asyncio.Task[T]"
    until: float


class OncePerKey(Generic[K, T]):
    """The work in progress, by key. `seconds` from its start its callers wait. An object belongs to one event loop.

    Each piece of work is a task that is referenced here, in a context of its own: it belongs to no single run, and goes
    on when its callers were cancelled."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._work: dict[K, _Work[T]] = {}

    def __contains__(self, key: K) -> bool:
        """Whether there is work in progress."""
        return key in self._work

    async def join(self, key: K, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work in progress, or of new work that `make` begins. Raises StillAtWork, and what the work
        raises: of a ConnectionFault each caller gets its own."""
        work = self._work.get(key) or self._begin(key, make)
        await asyncio.wait({work.task}, timeout=max(0.0, work.until - self._clock()))
        if not work.task.done():
            raise StillAtWork
        if work.task.cancelled():  # the server stops
            raise StillAtWork
        error = work.task.exception()
        if error is None:
            return work.task.result()
        raise error.own() if isinstance(error, ConnectionFault) else error

    async def aclose(self, seconds: float) -> None:
        """Wait for the work in progress, so many seconds, and cancel the rest."""
        tasks = {work.task for work in self._work.values()}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _begin(self, key: K, make: Callable[[], Coroutine[Any, Any, T]]) -> _Work[T]:
        task = asyncio.get_running_loop().create_task(make(), context=Context())
        work = self._work[key] = _Work(task, self._clock() + self._seconds)

        def ended(task: "asyncio.Task[T]") -> None:
            if self._work.get(key) is work:
                del self._work[key]
            if not task.cancelled():
                task.exception()  # all who waited may have been cancelled

        task.add_done_callback(ended)
        return work
