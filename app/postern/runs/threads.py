"""Threads for the `def` code of authors. A thread cannot be stopped, so one workflow may take only a share of them."""

import asyncio
import contextvars
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

SHARE = 40
"""Threads that one workflow may take. Its further runs wait for one of them, within their timeout."""
MOST = 200
"""Threads of all workflows together. They are made when they are needed."""
QUIET = 60.0
"""Seconds between two warnings about the threads of one workflow."""

T = TypeVar("T")


class NotBegun(asyncio.CancelledError):
    """The caller was cancelled while it waited for a thread: its code did not begin."""


class Threads:
    """Calls functions in threads. `abandoned` counts threads by workflow whose caller was cancelled: they run to their
    end. It belongs to one event loop."""

    def __init__(
        self, prefix: str, *, share: int = SHARE, most: int = MOST, log: FilteringBoundLogger | None = None
    ) -> None:
        self.abandoned: Counter[str] = Counter()
        self._share = share
        self._most = most
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=prefix)
        self._busy: Counter[str] = Counter()
        self._all_busy = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._warned: dict[str, float] = {}
        self._log: FilteringBoundLogger = log or structlog.get_logger("postern.runs")

    def close(self) -> None:
        """Release the threads. A thread whose function never ends is abandoned."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def exhausted(self, name: str) -> bool:
        """Whether abandoned calls hold all threads of this workflow, or all there are, so that no thread is likely to
        become free soon."""
        abandoned = self.abandoned
        if not abandoned or (abandoned[name] < self._share and abandoned.total() < self._most):
            return False
        self._warn(name)
        return True

    async def run(self, name: str, call: Callable[[], T]) -> T:
        """Call the function in a thread of this workflow, in the current context. When the caller is cancelled, the
        function runs to its end. Raises NotBegun if the caller was cancelled before the function began."""
        if self._has_room(name):
            self._take(name)
        else:
            await self._turn(name)
        try:
            future = self._pool.submit(contextvars.copy_context().run, call)
        except BaseException:
            self._free(name)
            raise
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError as error:
            if future.cancelled():  # in the pool's own queue
                raise NotBegun from error
            raise
        finally:
            if future.done():
                self._free(name)
            else:
                self._leave(name, future)

    async def _turn(self, name: str) -> None:
        """Wait for a thread, and take it."""
        self._warn(name)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError as error:
            if turn.done() and not turn.cancelled():  # both came at once
                self._free(name)
            raise NotBegun from error

    def _has_room(self, name: str) -> bool:
        return self._busy[name] < self._share and self._all_busy < self._most

    def _take(self, name: str) -> None:
        self._busy[name] += 1
        self._all_busy += 1

    def _free(self, name: str) -> None:
        """A thread is free: the first that waits for one of this workflow gets it, else the first of another."""
        self._busy[name] -= 1
        self._all_busy -= 1
        if not self._busy[name]:
            del self._busy[name]  # names of workflows come and go
        for waiting in (name, *self._waiting) if self._waiting else ():
            turns = self._waiting.get(waiting, deque())
            while turns and (turns[0].done() or self._has_room(waiting)):
                turn = turns.popleft()
                if not turn.done():
                    self._take(waiting)
                    turn.set_result(None)
            if not turns:
                self._waiting.pop(waiting, None)

    def _leave(self, name: str, future: "Future[T]") -> None:
        """Count a thread that nobody waits for, until it has ended."""
        loop = asyncio.get_running_loop()
        self.abandoned[name] += 1

        def over() -> None:
            self.abandoned[name] -= 1
            if not self.abandoned[name]:
                del self.abandoned[name]
            self._free(name)

        def ended(_: object) -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(over)

        future.add_done_callback(ended)

    def _warn(self, name: str) -> None:
        now = monotonic()
        if now - self._warned.get(name, -QUIET) < QUIET:
            return
        self._warned[name] = now
        self._log.warning(
            "threads-exhausted",
            workflow=name,
            threads=self._busy[name],
            abandoned=self.abandoned[name],
            threads_of_all=self._all_busy,
            fix="give the calls in its `def` code a timeout shorter than the workflow's, or use `async def`",
        )
