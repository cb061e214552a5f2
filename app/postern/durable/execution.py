"""One execution of a durable run in this server process: from its claim to its outcome, or until it is left."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from postern.durable.dbos_engine import Checkpoints, Left
from postern.durable.payload import Payload
from postern.journal.durable_runs import Hold, Reason
from postern.journal.run import Run

log = structlog.get_logger("postern.durable")


@dataclass(slots=True, eq=False)
class Execution:
    """`left` says that this execution ends without an outcome, whatever its code does, and `park` why if it cannot go
    on by itself. `failed_step` is the checkpoint whose error was raised last."""

    hold: Hold
    payload: Payload
    run: Run
    checkpoints: Checkpoints
    task: "asyncio.Task[object]"
    left: bool = False
    park: Reason | None = None
    cancelled: bool = False
    cancelled_by: str = ""
    failed_step: int | None = None
    steps: int = 0
    turn: bool = False
    waits: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.hold.run_id

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A wait of the run, from its first checkpoint to its last. Raises RuntimeError if the run waits already."""
        if self.waits:
            raise RuntimeError("a durable run waits for one thing at a time: await one wait after the other")
        self.waits = True
        try:
            yield
        finally:
            self.waits = False

    def unharmed(self, body: Callable[[int], Awaitable[str]]) -> Callable[[int], Coroutine[Any, Any, str]]:
        """The same body of a checkpoint, whose own faults are not the run's: a database or a vault that is unavailable
        ends this execution, and another one goes on."""

        async def guarded(number: int) -> str:
            try:
                return await body(number)
            except Exception as error:
                log.warning("durable-run-left", run_id=self.run_id, cause=type(error).__name__)
                raise self.gone() from None

        return guarded

    def gone(self) -> Left:
        """What ends this execution without an outcome, in its own code."""
        self.left = True
        return Left(self.run_id)

    def leave(self, park: Reason | None = None) -> None:
        """End this execution without an outcome."""
        self.left, self.park = True, self.park or park
        self.woken.set()
        self.task.cancel()
