"""One batch of the journal, and how it is written: all of it in one transaction."""

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from app.errors import Problem
from app.runs.journal.rows import run_row, step_row
from app.runs.journal.statements import execute, insert_runs, insert_steps
from app.runs.run import Run, Step

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

    def attempt(self, connection: Connection) -> None:
        """Do it; what fails by itself is undone by itself. A database that cannot be had fails the whole batch."""
        self.error = None
        if self.abandoned:
            return
        try:
            with connection.begin_nested():
                self.result = self.run(connection)
        except Exception as error:
            if is_passing(error):
                raise
            self.error = error

    def settle(self) -> Callable[[Connection], object] | None:
        """Tell who waits; return what is to be undone because nobody waits any more."""
        if self.abandoned or (self.future is not None and self.future.cancelled()):
            return self.undo
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
    """What is written together. `waiters` are the replies that leave when it is."""

    runs: list[Run]
    steps: list[tuple[str, Step]]
    operations: list[Operation]
    waiters: list[Future[None]] = field(default_factory=list)


def write_batch(engine: Engine, batch: Batch, node: str) -> None:
    """Write it and commit. Raises what `is_passing` says may pass; then all of it is to be tried again."""
    try:
        _write(engine, batch, node, _all_at_once)
    except Exception as error:
        if is_passing(error):
            raise
        log.exception("batch-refused", runs=len(batch.runs), steps=len(batch.steps))
        _write(engine, batch, node, _one_by_one)  # so that one that cannot be written takes no other with it


def is_passing(error: BaseException) -> bool:
    """Whether the same may succeed later: the database is away, full or locked, rather than the statement wrong."""
    return isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError | ProgrammingError)


Rows = Sequence[Sequence[Any]]


def _write(engine: Engine, batch: Batch, node: str, write: Callable[[Connection, str, Rows], None]) -> None:
    dialect = engine.dialect.name
    with engine.begin() as connection:
        if batch.runs:
            write(connection, insert_runs(dialect), [run_row(run, node) for run in batch.runs])
        if batch.steps:
            write(connection, insert_steps(dialect), [step_row(run_id, step) for run_id, step in batch.steps])
        for operation in batch.operations:
            operation.attempt(connection)


_all_at_once = execute


def _one_by_one(connection: Connection, statement: str, rows: Rows) -> None:
    for row in rows:
        try:
            with connection.begin_nested():
                execute(connection, statement, [row])
        except Exception as error:
            if is_passing(error):
                raise
            log.error("row-lost", id=row[0], error=type(error).__name__)  # noqa: TRY400 its text holds the row
