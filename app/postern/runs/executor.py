"""The event loop's executor, which `asyncio.to_thread` uses. Authors use it, and so does the server itself: to fetch
signing keys, for example. Calls of runs have shares of it, and the server's own calls never wait for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import Any

from postern.runs.shares import Shares, Turns

SHARE = 40
"""Threads that the runs of one workflow may take."""
MOST = 200
"""Threads of all runs together."""
OWN = 32
"""Further threads for the server itself."""

LEFT_BEHIND = ("", "")
"""Who submits the calls of tasks that go on after their runs have ended: all of them together."""

Call = Callable[[], Any]
Holder = Callable[[], tuple[str, str] | None]


class SharedExecutor(ThreadPoolExecutor):
    """`holder` returns the workflow and the caller of the run that submits a call, LEFT_BEHIND for a task that a run
    left behind, or None for the server itself. Make it in the event loop's thread. What is submitted in another thread
    has no share and does not wait."""

    def __init__(self, holder: Holder, *, share: int = SHARE, most: int = MOST) -> None:
        super().__init__(most + OWN, thread_name_prefix="executor")
        self._holder = holder
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._shares = Shares(share, most)
        self._turns = Turns()
        self._calls: dict[int, tuple[Future[Any], Call]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call the function when it is its workflow's and caller's turn."""
        who = self._holder() if get_ident() == self._thread else None
        if who is None:
            return super().submit(fn, *args, **kwargs)
        number = self._turns.add(*who)
        future: Future[Any] = Future()
        self._calls[number] = future, partial(fn, *args, **kwargs)
        self._hand_out()
        if number in self._calls:
            future.add_done_callback(partial(self._leave, number, who))
        return future

    def _leave(self, number: int, who: tuple[str, str], future: "Future[Any]") -> None:
        """A call that is cancelled waits no longer: what it was given may be large, and its turn may never come."""
        if self._calls.pop(number, None) is not None:
            self._turns.remove(*who, number)

    def _hand_out(self) -> None:
        while (found := self._turns.next(self._shares)) is not None:
            workflow, caller, number = found
            future, call = self._calls.pop(number)
            if future.set_running_or_notify_cancel():
                self._shares.take(workflow, caller)
                super().submit(self._work, future, call, (workflow, caller))

    def _work(self, future: "Future[Any]", call: Call, who: tuple[str, str]) -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._free, who)

    def _free(self, who: tuple[str, str]) -> None:
        self._shares.give_back(*who)
        with suppress(RuntimeError):  # it was shut down meanwhile
            self._hand_out()
