"""The checkpoints of a run's first execution. DBOS gets the run with its first checkpoint: one that ends without any is
never there."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from itertools import chain, repeat
from uuid import uuid4

import structlog
from dbos import error as dbos_errors
from sqlalchemy.exc import SQLAlchemyError

from postern.durable.checkpoint_writer import CheckpointWriter
from postern.durable.checkpoints import Later, Lost
from postern.durable.dbos_rows import Begins, Checkpoint, Ends, Row, now_ms

OPEN_SECONDS = 6.0
"""In which the database of checkpoints takes a run."""
WAITS = (0.1, 0.3, 1.0, 3.0, 5.0)
"""Seconds until a checkpoint that could not be kept is tried again: the last one from then on."""

log = structlog.get_logger("postern.durable")

Body = Callable[[int], Coroutine[object, object, str]]


class NotTaken(Exception):
    """DBOS could not record the start of a run."""


class FirstCheckpoints:
    """See Checkpoints. A step has its number from when it is called on, whether it ends or not: the next execution
    counts in the same way."""

    def __init__(self, run_id: str, writer: CheckpointWriter[Row], waits: Sequence[float] = WAITS) -> None:
        self.failed: Exception | None = None
        """Why DBOS did not take the run. This execution ends then, and nothing of it was kept."""
        self._of = run_id, str(uuid4())
        self._writer = writer
        self._waits = waits
        self._number = 0
        self._opening: asyncio.Task[None] | None = None

    async def step(self, name: str, body: Body) -> tuple[int, str]:
        """See Checkpoints.step."""
        self._number += 1
        number = self._number
        await self._opened()
        began, made, said = now_ms(), None, False
        for seconds in chain(self._waits, repeat(self._waits[-1])):
            try:
                if made is None:
                    text = await alone(body(number))
                    made = Checkpoint(*self._of, number, name, text, began, now_ms())
                await self._writer.write(made, len(made.text))
            except dbos_errors.DBOSWorkflowConflictIDError as error:
                raise Lost from error
            except (SQLAlchemyError, Later) as error:
                cause = error.cause if isinstance(error, Later) else type(error).__name__
            else:
                return number, made.text
            if not said:
                log.warning("checkpoint-not-kept", cause=cause, again=True)  # no text: it may repeat a result
            said = True
            await asyncio.sleep(seconds)
        raise AssertionError  # it is tried without an end

    def skip(self, count: int) -> None:
        """See Checkpoints.skip."""
        self._number += count

    def end(self) -> None:
        """The run has its outcome."""
        if self._opening is not None:
            self._writer.write_soon(Ends(*self._of))

    async def _opened(self) -> None:
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open(), context=Context())
            self._opening.add_done_callback(self._has_opened)
        try:
            await asyncio.shield(self._opening)
        except Exception as error:
            raise Lost from error

    async def _open(self) -> None:
        async with asyncio.timeout(OPEN_SECONDS):
            if not await self._writer.write(Begins(*self._of)):
                raise NotTaken(self._of[0])

    def _has_opened(self, opening: "asyncio.Task[None]") -> None:
        error = None if opening.cancelled() else opening.exception()
        self.failed = error if isinstance(error, Exception) else None


async def alone(work: Coroutine[object, object, str]) -> str:
    """The result of work in a context of its own. A cancellation is raised when the work has ended, however it did."""
    task = asyncio.get_running_loop().create_task(work, context=copy_context())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the cancellation is raised in place of it
        raise
