"""What waits for the writer: operations, and the batch that is with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Connection

from postern.errors import Problem

if TYPE_CHECKING:
    import asyncio

log = structlog.get_logger("postern.journal")


@dataclass(eq=False, slots=True)
class Operation:
    """Something to do within a batch's transaction, and who waits for it."""

    pickled: bytes
    future: "asyncio.Future[Any] | None"
    undo: Callable[[Connection], object] | None
    abandoned: bool = False

    def settle(self, result: Any, error: Exception | None) -> Callable[[Connection], object] | None:
        """Tell who waits; return what is to be undone because nobody waits any more."""
        future = self.future
        if error is not None:
            if future is not None and not future.done():
                future.set_exception(error)
            else:
                log.error("operation-failed", error=str(error))
            return None
        if self.abandoned or (future is not None and future.cancelled()):
            return self.undo
        if future is not None and not future.done():
            future.set_result(result)
        return None

    def abandon(self, told: Problem) -> None:
        """Nobody waits any more."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(told)
            self.abandoned = True


@dataclass(eq=False, slots=True)
class Sent:
    """A batch that is with the writer. `waiters` are the replies that leave when it is committed: those of the first of
    the runs, in the same order. It is sent again, as it is, to a writer that follows one that died."""

    data: bytes
    runs: list[tuple[Any, ...]]
    operations: list[Operation]
    waiters: "list[asyncio.Future[None]]"
    deaths: int = 0
