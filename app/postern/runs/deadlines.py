"""Time limits of runs. One timer serves all of them: a timer for each would cost more than a short run."""

import asyncio
from time import monotonic
from typing import Any

TICK = 0.05
"""Seconds between two checks: a run may exceed its limit by this much."""

Task = asyncio.Task[Any]


class Deadlines:
    """Cancels tasks whose time is over. It belongs to one event loop.

    The code that begins a limit must always end it. Counting distinguishes a cancellation by the limit from one from
    outside, as in `asyncio.timeout`.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until: dict[Task, float] = {}
        self._expired: dict[Task, int] = {}
        self._timer: asyncio.TimerHandle | None = None

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
            self._timer = loop.call_later(TICK, self._check, loop)
        return task

    def expire(self, task: Task) -> None:
        """End the time of this task now."""
        if self._until.pop(task, None) is not None:
            self._expired[task] = task.cancelling()  # the cancellations from outside
            task.cancel()

    def cancelled(self, task: Task) -> bool:
        """Whether a CancelledError that the task raised is from this limit, and no other cancellation is pending."""
        return task in self._expired and task.cancelling() - 1 <= self._expired[task]

    def end(self, task: Task) -> None:
        """Remove the limit."""
        if self._until.pop(task, None) is None:
            del self._expired[task]
            task.uncancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        for task in [task for task, until in self._until.items() if until <= now]:
            self.expire(task)
        self._timer = loop.call_later(TICK, self._check, loop) if self._until else None
