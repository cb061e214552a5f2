"""One execution of a durable run in this server process: from its claim to its outcome, or until it is left."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import structlog

from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable.checkpoints import Checkpoints, Left
from postern.durable.passing import passes
from postern.durable.payload import Payload
from postern.journal.durable_runs import Hold, Reason
from postern.journal.run import Run
from postern.runs.deadlines import Deadlines
from postern.runs.run_lines import RunLines

log = structlog.get_logger("postern.durable")


@dataclass(slots=True, eq=False)
class Execution:
    """`left` says that this execution ends without an outcome, whatever its code does, and `park` why if it cannot go
    on by itself. `failed_step` is the checkpoint whose error was raised last. `top_steps` and `top_calls` count those
    that are not in a step, `under_way` the checkpoints that have begun, `of_wait` that of the wait among them, and
    `refused` how often its code was told that it was left. The journal knows that `known` checkpoints were made, and
    `unkept` is the first one that its code cancelled. `signals` has the ids of those that it got, and
    `recorded` the numbers of the steps that earlier executions ended. The time of its `deadlines` stops while it has no
    turn."""

    hold: Hold
    payload: Payload
    run: Run
    checkpoints: Checkpoints
    task: "asyncio.Task[object]"
    lines: RunLines
    left: bool = False
    park: Reason | None = None
    cancelled: bool = False
    cancelled_by: str = ""
    failed_step: int | None = None
    steps: int = 0
    turn: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    top_steps: int = 0
    top_calls: int = 0
    under_way: int = 0
    of_wait: int = 0
    refused: int = 0
    known: int = 0
    unkept: int | None = None
    signals: set[str] = field(default_factory=set)
    recorded: frozenset[int] = frozenset()
    deadlines: Deadlines | None = None
    _rest: float | None = None

    def __post_init__(self) -> None:
        self.lines.begins(self.run_id, self.hold.attempt)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.hold.run_id

    @property
    def works(self) -> bool:
        """Whether a step is under way, beside a wait perhaps: elsewhere it would run again."""
        return self.under_way > self.of_wait

    def kept(self, waits: int) -> int | None:
        """How many checkpoints of the run are kept while it waits, in `waits` of its own: those before the first that
        is not. None if a step is under way."""
        if self.under_way != waits:
            return None
        return self.steps - waits if self.unkept is None else self.unkept

    def ended_early(self, place: int) -> None:
        """The checkpoint of this place, from 0 on, was cancelled by the run's code: it is made in the next
        execution."""
        self.unkept = place if self.unkept is None else min(place, self.unkept)

    def check_own_code(self) -> None:
        """Raise RuntimeError outside of the run's own task: a run whose code goes on beside a wait would not be found
        by what it waits for."""
        if asyncio.current_task() is not self.task:
            raise RuntimeError(
                "a durable run waits for one thing at a time, outside of steps: await the wait in the workflow itself, "
                "without a task or gather"
            )

    def unharmed(self, body: Callable[[int], Awaitable[str]]) -> Callable[[int], Coroutine[Any, Any, str]]:
        """The same body of a checkpoint, whose own faults are not the run's: a database or a vault that is unavailable
        ends this execution, and another one goes on. So does a text that does not open, once that is so. After a
        mistake of Postern's own the run is parked."""

        async def guarded(number: int) -> str:
            try:
                return await body(number)
            except Exception as error:
                if isinstance(error, CannotOpen):
                    self.park = self.park or Reason.KEY
                elif not passes(error):
                    raise self.broken(error) from None
                log.warning("durable-run-left", run_id=self.run_id, cause=type(error).__name__)
                raise self.gone() from None

        return guarded

    def gone(self) -> Left:
        """What ends this execution without an outcome, in its own code."""
        self.left = True
        return Left(self.run_id)

    def ended_by(self, error: BaseException) -> Left:
        """What ends this execution after an error that is not the author's. Another one goes on if it passes, or comes
        of the end of this server process."""
        return self.gone() if self.left or passes(error) else self.broken(error)

    def broken(self, error: BaseException) -> Left:
        """What ends this execution after a mistake of Postern's own: its run is parked. It would happen again, after
        effects of the author's code perhaps."""
        self.park = self.park or Reason.INTERNAL
        log.error("durable-run-broken", run_id=self.run_id, cause=type(error).__name__)  # a text may repeat a result
        return self.gone()

    async def uncancelled(self, work: Coroutine[Any, Any, bool], stops: Callable[[], bool]) -> bool:
        """What `work` returns, also if the run's code has cancelled its own task, which would end the work too."""
        if not self.task.cancelling():
            return await work
        working = asyncio.get_running_loop().create_task(work)
        while not working.done():
            try:
                await asyncio.wait([working])
            except asyncio.CancelledError:
                if self.left or stops():
                    working.cancel()
                    raise
        return working.result()

    def rests(self) -> None:
        """It has no turn: the time for its timeout stops."""
        if self.deadlines is not None:
            self._rest = self.deadlines.pause(self.task)

    def goes_on(self) -> None:
        """It has a turn again: the time for its timeout goes on."""
        if self.deadlines is not None and self._rest is not None:
            self.deadlines.go_on(self.task, self._rest)
            self._rest = None

    def leave(self, park: Reason | None = None) -> None:
        """End this execution without an outcome."""
        self.left, self.park = True, self.park or park
        self.woken.set()
        self.task.cancel()


CURRENT: ContextVar[Execution | None] = ContextVar("execution", default=None)
"""The execution that the current code belongs to: an earlier one of the same run may not have ended yet."""
