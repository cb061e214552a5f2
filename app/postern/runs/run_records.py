"""What the runner needs of the journal."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from postern.journal.run import Run

T = TypeVar("T")
Operation = Callable[[Connection], object]


class RunRecords(Protocol):
    """Records runs."""

    node: str

    def begin(self, run: Run) -> None:
        """Record a run that starts. Raises Problem if it cannot be recorded: the run then does not start."""

    def end(self, run: Run) -> Awaitable[None]:
        """Write the run's end to disk. Raises Problem if that fails."""

    async def write(self, operation: Callable[[Connection], T], undo: Operation | None = None) -> T:
        """Run another operation within the next commit; see Journal."""

    def write_soon(self, operation: Operation) -> None:
        """The same without waiting for it."""
