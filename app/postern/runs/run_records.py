"""What the runner needs of the journal."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from postern.journal.run import Run

T = TypeVar("T")
Operation = Callable[[Connection], object]


class RunRecords(Protocol):
    """Records runs."""

    node: str

    def begin(self, run: Run) -> None:
        """Record a run that starts. Raises Problem if it cannot be recorded: the run then does not start."""

    def admit(self, run: Run) -> None:
        """Raise Problem if this run cannot be recorded now, or its caller has a full share of what waits."""

    def end(self, run: Run, along: Operation | None = None) -> Awaitable[Any]:
        """Write the run's end to disk, with an operation in the same transaction, whose result is returned. Raises
        Problem if that fails."""

    async def write(self, operation: Callable[[Connection], T], undo: Operation | None = None) -> T:
        """Run another operation within the next commit; see Journal."""

    def write_soon(self, operation: Operation) -> None:
        """The same without waiting for it."""
