"""Writes to the database of checkpoints in a thread: what waits while one transaction is committed is the next one."""

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy import Engine

    from postern.durable.across_loops import Loop

MOST = 64
"""Rows in one transaction."""
MOST_CHARACTERS = 1024 * 1024
"""Characters of checkpoints in one transaction, but for its last one."""

Row = TypeVar("Row")
Result = tuple[Any, BaseException | None]


class Waiting(NamedTuple, Generic[Row]):
    """A row that is to be written, its characters, and the future of what waits for it; None if nothing does."""

    row: Row
    size: int
    future: "asyncio.Future[Any] | None"


class CheckpointWriter(Generic[Row]):
    """Writes by `engine`, for callers in the event loop `home`. `write_all` returns a value or an error for each row.
    If it raises, each row of the transaction is written again in one of its own."""

    def __init__(
        self, engine: "Engine", home: "Loop", write_all: Callable[[Connection, Sequence[Row]], Sequence[Result]]
    ) -> None:
        self._engine = engine
        self._home = home
        self._write_all = write_all
        self._queue: SimpleQueue[Waiting[Row] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="durable-writer", daemon=True)
        self._thread.start()

    async def write(self, row: Row, size: int = 0) -> Any:
        """What `write_all` returned for a row, when it is committed. It may have been committed too if this raises an
        error of the database, or is cancelled."""
        future: asyncio.Future[Any] = self._home.create_future()
        self._queue.put(Waiting(row, size, future))
        return await future

    def write_soon(self, row: Row) -> None:
        """The same without waiting. Its error is of no interest."""
        self._queue.put(Waiting(row, 0, None))

    def stop(self, seconds: float) -> None:
        """End the thread when it has written what waits, or leave it after so many seconds."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            found, goes_on = self._with_others(first)
            self._deliver(found, self._written(found))
            if not goes_on:
                return

    def _with_others(self, first: Waiting[Row]) -> tuple[list[Waiting[Row]], bool]:
        """What is written together, and whether there may be more."""
        found, left = [first], MOST_CHARACTERS - first.size
        while len(found) < MOST and left > 0:
            try:
                another = self._queue.get_nowait()
            except Empty:
                break
            if another is None:
                return found, False
            found.append(another)
            left -= another.size
        return found, True

    def _written(self, found: Sequence[Waiting[Row]]) -> list[Result]:
        try:
            with self._engine.begin() as connection:
                return list(self._write_all(connection, [each.row for each in found]))
        except Exception as error:
            if len(found) == 1:
                return [(None, error)]
        return [result for each in found for result in self._written([each])]

    def _deliver(self, found: Sequence[Waiting[Row]], results: Sequence[Result]) -> None:
        def deliver() -> None:
            for each, (value, error) in zip(found, results, strict=True):
                if each.future is None or each.future.done():
                    continue
                if error is not None:
                    each.future.set_exception(error)
                else:
                    each.future.set_result(value)

        if not self._home.is_closed():
            self._home.call_soon_threadsafe(deliver)
