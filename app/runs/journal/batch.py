"""One batch of the journal, and how it is written: all of it in one transaction."""

from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from app.errors import Problem
from app.runs.journal.statements import Row, write_alone, write_runs, write_steps

_OF_DATABASES = {"DatabaseError", "InterfaceError"}
_OF_STATEMENTS = {"IntegrityError", "DataError", "ProgrammingError", "NotSupportedError"}

log = structlog.get_logger("postern.journal")


@dataclass(eq=False, slots=True)
class Operation:
    """Something to do within a batch's transaction, and who waits for it. `result` and `error` are the writer's, the
    future is the event loop's."""

    run: Callable[[Connection], Any]
    future: Future[Any] | None
    undo: Callable[[Connection], object] | None
    result: Any = None
    error: Exception | None = None
    abandoned: bool = False
    done: bool = False

    def attempt(self, connection: Connection) -> None:
        """Do it; what fails by itself is undone by itself. A database that cannot be had fails the whole batch."""
        self.error, self.done = None, False
        if self.abandoned:
            return
        try:
            with connection.begin_nested():
                self.result = self.run(connection)
            self.done = True
        except Exception as error:
            if is_passing(error):
                raise
            self.error = error

    def settle(self) -> Callable[[Connection], object] | None:
        """Tell who waits; return what is to be undone because nobody waits any more."""
        if self.abandoned or (self.future is not None and self.future.cancelled()):
            return self.undo if self.done else None
        if self.future is None or self.future.done():
            if self.error is not None:
                log.error("operation-failed", error=type(self.error).__name__)
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)
        return None

    def abandon(self, told: Problem) -> None:
        """Nobody waits any more."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(told)
            self.abandoned = True


@dataclass(eq=False, slots=True)
class Batch:
    """What is written together. `waiters` are the replies that leave when it is: those of the first of the runs, in the
    same order. `lost` are ids of rows that could not be written."""

    runs: list[Row]
    steps: list[Row]
    operations: list[Operation]
    waiters: list[Future[None]] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)


def write_batch(connection: Connection, batch: Batch) -> None:
    """Write it and commit. Raises what `is_passing` says may pass; then all of it is to be tried again."""
    try:
        _write_all(connection, batch)
    except Exception as error:
        if is_passing(error):
            raise
        log.exception("batch-refused", runs=len(batch.runs), steps=len(batch.steps))
        _write_one_by_one(connection, batch)  # so that one that cannot be written takes no other with it


def is_passing(error: BaseException) -> bool:
    """Whether the same may succeed later: the database is away, full or locked, rather than the statement wrong. The
    driver's own errors have the names that PEP 249 gives them."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(_OF_DATABASES) and names.isdisjoint(_OF_STATEMENTS)


def _write_all(connection: Connection, batch: Batch) -> None:
    if not batch.steps and not batch.operations and write_alone(connection, batch.runs):
        return
    with connection.begin():
        if batch.runs:
            write_runs(connection, batch.runs)
        if batch.steps:
            write_steps(connection, batch.steps)
        for operation in batch.operations:
            operation.attempt(connection)


def _write_one_by_one(connection: Connection, batch: Batch) -> None:
    rows = [(write_runs, row) for row in batch.runs] + [(write_steps, row) for row in batch.steps]
    with connection.begin():
        for write, row in rows:
            try:
                with connection.begin_nested():
                    write(connection, [row])
            except Exception as error:
                if is_passing(error):
                    raise
                batch.lost.add(row[0])
                log.error("row-lost", id=row[0], error=type(error).__name__)  # noqa: TRY400 its text holds the row
        for operation in batch.operations:
            operation.attempt(connection)
