"""Threads for the `def` code of authors. A thread cannot be stopped, so each workflow and each caller has a share."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Protocol, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from postern.access import Caller
from postern.journal.shares import ANONYMOUS, holder_of
from postern.runs.pace import Pace
from postern.runs.shares import Shares, Turns

SHARE = 40
"""Threads that one workflow may take. Its further runs wait for one of them, within their timeout."""
MOST = 200
"""Threads of all workflows together. They are made when they are needed."""
LOOK_SECONDS = 0.01
"""Seconds between two looks at how late the event loop is, while threads are held."""
QUIET = 60.0
"""Seconds between two warnings about the threads of one workflow."""

T = TypeVar("T")


class Hold(Protocol):
    """What a run holds while its code runs."""

    def share(self) -> None:
        """The code goes on after its run has ended."""

    def give_back(self) -> None:
        """The code has ended."""


def holder_name(caller: Caller, address: str) -> str:
    """Who holds a thread: the same callers as in the queues of the journal."""
    return caller.object_id or holder_of(ANONYMOUS, "", "", address)[1]


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
        self._pace = Pace(share)
        self._shares = Shares(share, most, self._pace.limit)
        self._turns = Turns()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._warned: dict[str, float] = {}
        self._log: FilteringBoundLogger = log or structlog.get_logger("postern.runs")

    @property
    def busy(self) -> dict[str, int]:
        """How many threads each workflow holds."""
        return dict(self._shares.of_workflow)

    @property
    def waiting(self) -> dict[str, int]:
        """How many calls of each workflow wait for a thread."""
        return dict(self._turns.of_workflow)

    def close(self) -> None:
        """Release the threads. A thread whose function never ends is abandoned."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def exhausted(self, name: str) -> bool:
        """Whether abandoned calls hold all threads of this workflow, or all there are, so that no thread is likely to
        become free soon."""
        abandoned = self.abandoned
        if not abandoned or (abandoned[name] < self._share and abandoned.total() < self._most):
            return False
        self._warn(name)
        return True

    async def run(self, name: str, call: Callable[[], T], caller: str = "", hold: Hold | None = None) -> T:
        """Call the function in a thread of this workflow, in the current context. `caller` identifies who it is for.
        When the task is cancelled, a function that has begun runs to its end, and shares `hold` until then. One that
        has not never begins: then NotBegun is raised."""
        if self._shares.fits(name, caller):
            self._shares.take(name, caller)
        else:
            await self._turn(name, caller)
        if self._timer is None:
            self._look_later()
        begins = [True]  # taken by the thread, which then begins, or by a cancellation: a list's `pop` is atomic
        try:
            future = self._pool.submit(contextvars.copy_context().run, _begin, begins, call)
        except BaseException:
            self._free(name, caller)
            raise
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError as error:
            if _taken(begins):
                raise NotBegun from error
            raise
        finally:
            if future.done():
                self._free(name, caller)
            else:
                self._leave(name, caller, future, hold)

    async def _turn(self, name: str, caller: str) -> None:
        """Wait for a thread, and take it."""
        self._warn(name)
        number = self._turns.add(name, caller)
        turn = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError as error:
            if self._waiting.pop(number, None) is None:  # both came at once
                self._free(name, caller)
            else:
                self._turns.remove(name, caller, number)
            raise NotBegun from error

    def _free(self, name: str, caller: str) -> None:
        """A thread is free."""
        self._shares.give_back(name, caller)
        self._hand_out()

    def _hand_out(self) -> None:
        """Whose turn it is gets a thread, as long as there are some."""
        while self._waiting and (found := self._turns.next(self._shares)) is not None:
            workflow, waiting, number = found
            self._shares.take(workflow, waiting)
            turn = self._waiting.pop(number)
            if turn.done():  # cancelled in this very moment: its task gives the thread back
                continue
            turn.set_result(None)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            LOOK_SECONDS, self._look, monotonic() + LOOK_SECONDS, context=contextvars.Context()
        )

    def _look(self, due: float) -> None:
        """Adapt the number of threads to how late the event loop is."""
        slowed = self._pace.look(monotonic() - due, self._shares.of_workflow, self._turns.of_workflow)
        if slowed:
            self._warn(slowed)
        self._hand_out()
        self._timer = None
        if self._shares.of_all or self._pace.has_limits:
            self._look_later()

    def _leave(self, name: str, caller: str, future: "Future[T]", hold: Hold | None) -> None:
        """Count a thread that nobody waits for, until it has ended."""
        loop = asyncio.get_running_loop()
        self.abandoned[name] += 1
        if hold is not None:
            hold.share()

        def over() -> None:
            self.abandoned[name] -= 1
            if not self.abandoned[name]:
                del self.abandoned[name]
            if hold is not None:
                hold.give_back()
            self._free(name, caller)

        def ended(_: object) -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(over)

        future.add_done_callback(ended)

    def _warn(self, name: str) -> None:
        now = monotonic()
        if now - self._warned.get(name, -QUIET) < QUIET:
            return
        self._warned[name] = now
        workflow, caller, threads = self._shares.holder()
        self._log.warning(
            "threads-exhausted",
            workflow=name,
            threads=self._shares.of_workflow[name],
            abandoned=self.abandoned[name],
            threads_of_all=self._shares.of_all,
            held_by_workflow=workflow,
            held_by_caller=caller,
            held_threads=threads,
            at_once=self._pace.limit(name),
            fix="give the calls in the `def` code of held_by_workflow a timeout shorter than the workflow's, or use "
            "`async def`. If it computes (at_once is small), move that to a process or another server",
        )


def _begin(begins: list[bool], call: Callable[[], T]) -> T:
    if not _taken(begins):
        raise NotBegun
    return call()


def _taken(begins: list[bool]) -> bool:
    """Whether this is the one that takes it."""
    try:
        return begins.pop()
    except IndexError:
        return False
