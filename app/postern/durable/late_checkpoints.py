"""The checkpoints of a run's first execution. DBOS gets the run with its first checkpoint: one that ends without any is
never there."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context
from typing import Any

from postern.durable.checkpoints import Checkpoints, Lost


class Opening:
    """What a run's first execution and DBOS's workflow of it, in another thread, tell each other: `here` are the
    checkpoints that the workflow offers, and `over` is whether the execution ended with an outcome."""

    def __init__(self) -> None:
        self.here: Future[Checkpoints] = Future()
        self.over: Future[bool] = Future()

    def offer(self, checkpoints: Checkpoints) -> bool:
        """Offer the checkpoints. False if the execution does not wait for them any more."""
        if not self.here.set_running_or_notify_cancel():
            return False
        self.here.set_result(checkpoints)
        return True

    def end(self, outcome: bool) -> None:
        """The execution has ended. If DBOS's workflow has too, nothing happens."""
        with suppress(InvalidStateError):
            self.over.set_result(outcome)


class LateCheckpoints:
    """See Checkpoints. `take` gives the run to DBOS, and returns its checkpoints there. A step that is cancelled
    meanwhile has its number all the same, as it has in DBOS: otherwise the next execution would count differently."""

    def __init__(self, take: Callable[[], Coroutine[Any, Any, Checkpoints]]) -> None:
        self.failed: Exception | None = None
        """Why DBOS did not take the run. This execution ends then, and nothing of it was kept."""
        self._take = take
        self._taking: asyncio.Task[Checkpoints] | None = None
        self._turn = asyncio.Lock()  # first in, first out: numbers are given in the order of calls
        self._called = self._numbered = 0

    async def step(self, name: str, body: Callable[[int], Coroutine[Any, Any, str]]) -> tuple[int, str]:
        """See Checkpoints.step."""
        place = self._called
        self._called += 1
        async with self._turn:
            opened = await self._opened()
        opened.skip(place - self._numbered)
        self._numbered = place + 1
        return await opened.step(name, body)

    def skip(self, count: int) -> None:
        """See Checkpoints.skip."""
        self._called += count

    async def _opened(self) -> Checkpoints:
        if self._taking is None:
            self._taking = asyncio.get_running_loop().create_task(self._take(), context=Context())
            self._taking.add_done_callback(self._taken)
        try:
            return await asyncio.shield(self._taking)
        except Exception as error:
            raise Lost from error

    def _taken(self, taking: "asyncio.Task[Checkpoints]") -> None:
        error = None if taking.cancelled() else taking.exception()
        self.failed = error if isinstance(error, Exception) else None
