"""The checkpoints of one execution of a run, and what ends an execution without an outcome."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol


class Left(BaseException):
    """This execution of a run ends here, without an outcome: another one goes on. DBOS records nothing of it."""


class Later(BaseException):
    """The body of a checkpoint cannot begin, or end, for a reason that passes: it is tried again. `cause` names it."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Changed(Exception):
    """The code asks for another step than the one that was recorded here."""


class Lost(Exception):
    """Another server process runs this run by now."""


class Checkpoints(Protocol):
    """The checkpoints of one execution. `step` is called in the server's event loop."""

    async def step(self, name: str, body: Callable[[int], Coroutine[Any, Any, str]]) -> tuple[int, str]:
        """The number of this checkpoint, and what `body` returned when it was made: now, or in an earlier execution. It
        gets the number. Numbers are given in the order of calls. While the database of checkpoints is unavailable or
        full, it is tried again, and a body that has returned is not called again. Raises Changed if another step was
        recorded under this number, and Lost if another process has taken over."""

    def skip(self, count: int) -> None:
        """Give so many numbers to steps that ended before they had one."""


Execute = Callable[[str, Checkpoints], Awaitable[bool]]
"""Runs a run, in the server's event loop, under its id. False if it did not end here."""
