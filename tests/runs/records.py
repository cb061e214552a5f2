"""A substitute for the journal, for tests of other parts."""

from typing import Any

from postern.journal.run import Run


class Records:
    """Keeps the runs that it receives."""

    node = "node"

    def __init__(self) -> None:
        self.begun: list[Run] = []
        self.ended: list[Run] = []

    def begin(self, run: Run) -> None:
        self.begun.append(run)

    def admit(self, run: Run) -> None:
        pass

    async def end(self, run: Run, along: Any = None) -> None:
        self.ended.append(run)

    async def write(self, operation: Any, undo: Any = None) -> Any:
        raise NotImplementedError

    def write_soon(self, operation: Any) -> None:
        raise NotImplementedError
