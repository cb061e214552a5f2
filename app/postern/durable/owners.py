"""Whether runs are still this process's: asked before each body of a step, and read for all that wait at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any

from postern.journal.durable_runs import Hold, owned_of

Read = Callable[[Callable[[Any], Any]], Awaitable[Any]]


class Owners:
    """Compares owners in the journal. Each answer is of a read that began after its question."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: dict[Hold, asyncio.Future[bool]] = {}
        self._comparing: asyncio.Task[None] | None = None

    async def owns(self, hold: Hold) -> bool:
        """Whether the run is its process's, in this attempt, and not cancelled. Raises what the read raises."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.get(hold)
        if answer is None:
            answer = self._waiting[hold] = loop.create_future()
        if self._comparing is None:
            self._comparing = loop.create_task(self._compare(), context=Context())
        return await asyncio.shield(answer)

    async def _compare(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, {}
                try:
                    found = await self._read(partial(owned_of, holds=list(asked)))
                except BaseException as error:
                    for answer in asked.values():
                        answer.set_exception(error)
                        answer.exception()  # it may be that nobody waits any more
                    if not isinstance(error, Exception):
                        raise
                else:
                    for hold, answer in asked.items():
                        answer.set_result(hold in found)
        finally:
            self._comparing = None
