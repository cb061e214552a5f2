"""Time limits of runs. One timer serves all of them: a timer for each would cost more than a short run."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from time import monotonic
from typing import Any

from postern.runs.pauses import PAUSES

TICK = 0.05
"""Seconds between two checks: a run may exceed its limit by this much."""

GRACE = 0.5
"""Seconds that a cancelled task has to end. Then it is abandoned: it may have swallowed its cancellation."""

Task = asyncio.Task[Any]


class Deadlines:
    """Cancels tasks whose time is over, and calls `abandon` with each that has not ended GRACE seconds later. It
    belongs to one event loop.

    The code that begins a limit must always end it. Counting distinguishes a cancellation by the limit from one from
    outside, as in `asyncio.timeout`.
    """

    def __init__(self, abandon: Callable[[Task], None], *, grace: float = GRACE) -> None:
        self.expired: dict[Task, int] = {}
        """The tasks that were cancelled and have not ended."""
        self._abandon = abandon
        self._grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until: dict[Task, float] = {}
        self._graces: dict[Task, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._paused = PAUSES.seconds
        self._context = Context()  # not that of the run which sets the timer: it serves all of them

    def begin(self, seconds: float) -> Task:
        """Limit the current task from now on."""
        loop = self._loop
        if loop is None:  # kept, because getting it is a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a running task")
        self._until[task] = monotonic() + seconds
        if self._timer is None:
            self._timer = loop.call_later(TICK, self._check, loop, context=self._context)
        return task

    def left(self, task: Task) -> float:
        """The seconds until the limit of this task; 0 if there is none any more."""
        return max(0.0, self._until.get(task, 0.0) - monotonic())

    def pause(self, task: Task) -> float:
        """Stop the time of this task, which can still be expired. Returns the seconds until its limit."""
        left = self.left(task)
        if task in self._until:
            self._until[task] = math.inf
        return left

    def go_on(self, task: Task, seconds: float) -> None:
        """The time of this task goes on, with so many seconds until its limit."""
        if task in self._until:
            self._until[task] = monotonic() + seconds

    def expire(self, task: Task) -> None:
        """End the time of this task now."""
        if self._until.pop(task, None) is not None:
            self.expired[task] = task.cancelling()  # the cancellations from outside
            self._graces[task] = monotonic() + self._grace
            with suppress(BaseException):  # the author's own future may be awaited, with a `cancel` of theirs
                task.cancel()

    def cancelled(self, task: Task) -> bool:
        """Whether a CancelledError that the task raised is from this limit, and no other cancellation is pending."""
        return task in self.expired and task.cancelling() - 1 <= self.expired[task]

    def end(self, task: Task) -> None:
        """Remove the limit."""
        if self._until.pop(task, None) is None:
            del self.expired[task]
            self._graces.pop(task, None)
            task.uncancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        try:
            for task in self._over(now):
                self.expire(task)
            for task in [task for task, until in self._graces.items() if until <= now]:
                del self._graces[task]
                self._abandon(task)
        finally:  # the limits of all the others go on, whatever happens
            more = self._until or self._graces
            self._timer = loop.call_later(TICK, self._check, loop, context=self._context) if more else None

    def _over(self, now: float) -> list[Task]:
        """The tasks whose time is over. Time in which a debugger holds code does not count."""
        if PAUSES.held:
            return []
        if lost := PAUSES.seconds - self._paused:
            self._paused += lost
            for task in self._until:
                self._until[task] += lost
        return [task for task, until in self._until.items() if until <= now]
