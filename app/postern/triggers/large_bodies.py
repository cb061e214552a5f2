"""Large bodies are read one at a time, and as long as one takes, the next one waits: other requests have half of the
event loop's time. pydantic holds the interpreter while it validates, so a thread of its own would not help them.

Workflows have turns, and within a workflow its callers, so that nobody waits for all the bodies of another one.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial
from time import monotonic
from typing import TypeVar

from postern.errors import problem
from postern.journal.shares import Allotment, Holder
from postern.runs.shares import Shares, Turns
from postern.triggers.thread_turns import ThreadTurns

LARGE = 4096
"""Bytes of a body that takes a turn. A smaller one is read in well below a millisecond."""

MOST_WAITING = 256 * 1024 * 1024
"""Bytes of bodies that wait for their turns. A caller may have as much of it as is free, and all anonymous callers
half."""

T = TypeVar("T")


class LargeBodies:
    """The turns of large bodies. It belongs to one event loop."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._turn = Shares(1, 1)
        self._turns = Turns()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._bytes = Allotment(most)
        self._turns_of_threads = ThreadTurns()

    async def read(self, read: Callable[[], T], workflow: str, who: Holder, size: int) -> T:
        """Read a body of so many bytes in its turn. What came in meanwhile is done before this returns. Raises Problem
        429 if too much waits already."""
        caller = " ".join(who)
        if self._turn.of_all:
            await self._wait(workflow, caller, who, size)
        else:
            self._turn.take(workflow, caller)
        began = monotonic()
        try:
            return read()
        finally:
            loop = asyncio.get_running_loop()
            loop.call_later(monotonic() - began, self._over, workflow, caller, context=Context())
            await asyncio.sleep(0)

    async def _wait(self, workflow: str, caller: str, who: Holder, size: int) -> None:
        if not self._bytes.admits(who):
            detail = "Too many large bodies wait to be read."
            raise problem("too-many-runs", detail=detail, headers={"Retry-After": "1"})
        number = self._turns.add(workflow, caller)
        turn = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._bytes.take(who, size)
        try:
            await turn
        except BaseException:
            if self._waiting.pop(number, None) is None:  # it was cancelled just when its turn came
                self._over(workflow, caller)
            else:
                self._turns.remove(workflow, caller, number)
            raise
        finally:
            self._bytes.take(who, -size)

    def _over(self, workflow: str, caller: str) -> None:
        """A turn is over: the next one begins."""
        self._turn.give_back(workflow, caller)
        found = self._turns.next(self._turn)
        if found is not None:
            workflow, caller, number = found
            self._turn.take(workflow, caller)
            turn = self._waiting.pop(number)
            if not turn.done():  # else it was cancelled in this very moment, and gives its turn back
                turn.set_result(None)

    def in_thread(self, read: Callable[[], T]) -> Callable[[], T]:
        """The same for a body that is read in a thread, which waits there."""
        return partial(self._turns_of_threads.call, read)
