"""Time limits of runs, kept by one timer for all of them: a timer for each would cost more than a short run does."""

import asyncio
from time import monotonic
from typing import Any

TICK = 0.05
"""Seconds between two looks: a run may have this much more than its limit."""

Task = asyncio.Task[Any]


class Deadlines:
    """Cancels tasks whose time is over. It belongs to one event loop.

    Who begins a limit ends it, whatever happens between. A cancellation by the limit and one from outside are told
    apart by counting, as `asyncio.timeout` does.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until: dict[Task, float] = {}
        self._expired: dict[Task, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> Task:
        """Limit the current task from now on."""
        loop = self._loop
        if loop is None:  # it is remembered because asking for it is a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline is for what runs in a task")
        self._until[task] = monotonic() + seconds
        if self._timer is None:
            self._timer = loop.call_later(TICK, self._look, loop)
        return task

    def expire(self, task: Task) -> None:
        """Let the limit of this task be over now."""
        if self._until.pop(task, None) is not None:
            self._expired[task] = task.cancelling()  # the cancellations that are not ours
            task.cancel()

    def cancelled(self, task: Task) -> bool:
        """Whether a CancelledError that came out of the task is this limit's, and nobody else wants to end it."""
        return task in self._expired and task.cancelling() - 1 <= self._expired[task]

    def end(self, task: Task) -> None:
        """Lift the limit."""
        if self._until.pop(task, None) is None:
            del self._expired[task]
            task.uncancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        for task in [task for task, until in self._until.items() if until <= now]:
            self.expire(task)
        self._timer = loop.call_later(TICK, self._look, loop) if self._until else None
