"""The runs of this process that have not ended, and their cancellation."""

import asyncio
from collections.abc import Awaitable, Callable

from postern.errors import Problem
from postern.journal.run import Run
from postern.runs.deadlines import Deadlines, Task
from postern.runs.idempotency import Key

CANCEL_SECONDS = 5.0
"""How long a cancellation waits for the run to end."""

Late = Callable[[Run | Problem], Awaitable[None]]


Entry = tuple[Task, Run, Key | None, Late | None]
"""A run in its task, with what is needed to end it in place of the task."""


class Underway:
    """The runs of this process that have not ended, by id. They are cancelled by ending their time."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self.entries: dict[str, Entry] = {}
        self._cancelled: dict[str, asyncio.Future[None]] = {}
        self._cancelled_by: dict[str, str] = {}

    def find(self, run_id: str) -> Run | None:
        """A run of this process that has not ended, also if it is not recorded yet."""
        entry = self.entries.get(run_id)
        return entry[1] if entry is not None else None

    def left(self, run_id: str) -> float:
        """The seconds until this run times out; 0 if it has ended."""
        entry = self.entries.get(run_id)
        return self._deadlines.left(entry[0]) if entry is not None else 0.0

    def of_task(self, task: Task) -> Entry | None:
        """The run that is in this task."""
        return next((each for each in self.entries.values() if each[0] is task), None)

    async def cancel(self, run_id: str, by: str = "") -> bool:
        """See Runner.cancel."""
        if by and run_id in self.entries:
            self._cancelled_by.setdefault(run_id, by)
        ended = self.begin_cancel(run_id)
        if ended is None:
            return False
        await asyncio.wait([ended], timeout=CANCEL_SECONDS)
        return True

    def begin_cancel(self, run_id: str) -> "asyncio.Future[None] | None":
        """See Runner.begin_cancel."""
        entry = self.entries.get(run_id)
        if entry is None:
            return None
        if entry[0] in self._deadlines.expired and run_id not in self._cancelled:  # its timeout came first
            return None
        ended = self._cancelled.get(run_id) or asyncio.get_running_loop().create_future()
        self._cancelled[run_id] = ended
        self._deadlines.expire(entry[0])
        return ended

    def is_cancelled(self, run_id: str) -> bool:
        """Whether the run was cancelled by hand."""
        return run_id in self._cancelled

    def take_actor(self, run_id: str) -> str:
        """Who cancelled the run, as `actor` returns it; "" if that is not known."""
        return self._cancelled_by.pop(run_id, "")

    def report(self, run_id: str) -> None:
        """Tell those who wait for the end of a cancelled run."""
        if not self._cancelled and not self._cancelled_by:
            return
        self._cancelled_by.pop(run_id, None)
        ended = self._cancelled.pop(run_id, None)
        if ended is not None and not ended.done():
            ended.set_result(None)
