"""What waits for the writer: operations, and the batch that it is writing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Connection

from postern.errors import Problem, problem

if TYPE_CHECKING:
    import asyncio

MOST_DEATHS = 3
"""Writers that may die of one batch. If so many did, one after the other, the batch is dropped, so that the next are
written."""

log = structlog.get_logger("postern.journal")


@dataclass(eq=False, slots=True)
class Operation:
    """An operation in a batch's transaction: `work` and `size` as `together.work_of` made them, and the future of its
    caller. `waiter` is that of the run whose end it belongs to: it gets the operation's result. `after` counts the runs
    in the queue that are written before it or with it, and `of_run` says that the last of them is its own."""

    work: bytes | Callable[[Connection], Any]
    size: int
    future: "asyncio.Future[Any] | None"
    undo: Callable[[Connection], object] | None
    abandoned: bool = False
    waiter: "asyncio.Future[Any] | None" = None
    after: int = 0
    of_run: bool = False

    def settle(self, result: Any, error: Exception | None) -> Callable[[Connection], object] | None:
        """Set the result for the caller. Returns the operation's `undo` if the caller no longer waits."""
        future = self.future
        if error is not None:
            if future is not None and not future.done():
                future.set_exception(error)
            else:
                log.error("operation-failed", error=str(error))
            return None
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(result)
        if self.abandoned or (future is not None and future.cancelled()):
            return self.undo
        if future is not None and not future.done():
            future.set_result(result)
        return None

    @property
    def has_result(self) -> bool:
        """Whether a result was set for the caller."""
        future = self.future
        return future is not None and future.done() and not future.cancelled() and future.exception() is None

    def abandon(self, shown: Problem) -> None:
        """Raise this problem for the caller, which no longer waits."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(shown)
            self.abandoned = True


@dataclass(eq=False, slots=True)
class Sent:
    """A batch that the writer has. `waiters` are the futures of the replies that are sent when it is committed: those
    of the first runs, whose `ids` have the same order. If the writer dies, the next one gets the same batch.
    `large_bytes` are those of large runs and operations."""

    data: bytes
    ids: list[str]
    operations: list[Operation]
    waiters: "list[asyncio.Future[None]]"
    large_bytes: int = 0
    deaths: int = 0

    def count_death(self, cause: str) -> bool:
        """Count a writer that died while it had this batch. Returns whether it was one too many: then those who wait
        for the batch have got an error, and it is to be dropped."""
        self.deaths += 1
        if self.deaths < MOST_DEATHS:
            return False
        self.fail_rows(dict.fromkeys(self.ids, cause or "the writer died"))
        for operation in self.operations:
            operation.abandon(problem("internal-error"))
        return True

    def fail_rows(self, lost: Mapping[str, str]) -> None:
        """Fail the replies of rows that can never be written, by id with the cause of each."""
        log.error("rows-lost", ids=sorted(lost), causes=sorted(set(lost.values())))
        for run_id, waiter in zip(self.ids, self.waiters, strict=False):
            if run_id in lost and not waiter.done():
                waiter.set_exception(problem("internal-error"))
