"""Reads the replies to calls. Large ones are read one at a time, beside the event loop, with a pause after each: the
parser holds the interpreter, so that nothing else goes on meanwhile, and elements take most of its time."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic, sleep
from typing import Any

from postern.connections.calls.call_response import value_of
from postern.http_client import Response

LARGE = 64 * 1024
"""The bytes from which a reply is large."""


class Replies:
    """Reads replies. `now` is in seconds. It belongs to one event loop."""

    def __init__(self, now: Callable[[], float] = monotonic, sleep: Callable[[float], None] = sleep) -> None:
        self._now = now
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(1, "reply")
        self._rests_until = 0.0
        self._is_reading = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def close(self) -> None:
        """Release the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def value(self, response: Response, most: int, caller: str = "") -> Any:
        """The result in a reply of at most so many elements, for a run of this caller. Raises TooManyElements, and
        ValueError for JSON that is not valid."""
        if len(response.content) < LARGE:
            return value_of(response, most)
        await self._turn(caller)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, partial(self._read, response, most))
        finally:
            self._over()

    async def _turn(self, caller: str) -> None:
        """Wait for the turn of this caller: the replies of one do not hold up those of another."""
        if not self._is_reading:
            self._is_reading = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except BaseException:
            if not turn.cancelled():  # it was cancelled just when its turn came
                self._over()
            raise

    def _over(self) -> None:
        """A turn is over: the next caller has one."""
        while self._waiting:
            caller = next(iter(self._waiting))
            turns = self._waiting.pop(caller)
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._is_reading = False

    def _read(self, response: Response, most: int) -> Any:
        """Read one, after a pause as long as the one before took: half of the time is for other requests."""
        began = self._now()
        if began < self._rests_until:
            self._sleep(self._rests_until - began)
            began = self._now()
        try:
            return value_of(response, most)
        finally:
            now = self._now()
            self._rests_until = now + (now - began)
