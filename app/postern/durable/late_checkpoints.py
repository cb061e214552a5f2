"""The checkpoints of a run's first execution. DBOS gets the run with its first checkpoint: one that ends without any is
never there."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from postern.durable.checkpoints import Checkpoints, Lost


class LateCheckpoints:
    """See Checkpoints. `take` gives the run to DBOS, and returns its checkpoints there."""

    def __init__(self, take: Callable[[], Awaitable[Checkpoints]]) -> None:
        self.failed: Exception | None = None
        """Why DBOS did not take the run. This execution ends then, and nothing of it was kept."""
        self._take = take
        self._opened: Checkpoints | None = None
        self._turn = asyncio.Lock()  # first in, first out: numbers are given in the order of calls

    async def step(self, name: str, body: Callable[[int], Coroutine[Any, Any, str]]) -> tuple[int, str]:
        """See Checkpoints.step."""
        async with self._turn:
            if self._opened is None:
                self._opened = await self._first()
        return await self._opened.step(name, body)

    async def _first(self) -> Checkpoints:
        if self.failed is None:
            try:
                return await self._take()
            except Exception as error:
                self.failed = error
        raise Lost
