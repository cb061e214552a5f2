"""One batch of the journal, written in one transaction.

An error of one row loses that row and no other. An error that is not a row's leaves the whole batch to be written
again: nothing that ran may be lost because the database refuses what is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Integer, Table, Text

from postern.ids import new_id
from postern.journal.database.faults import Kind, Refused, cause_of, kind_of
from postern.journal.schema import calls, runs, steps
from postern.journal.writing.rows import COLUMNS
from postern.journal.writing.statements import (
    CALL_COLUMNS,
    STEP_COLUMNS,
    Row,
    Rows,
    write_alone,
    write_calls,
    write_runs,
    write_steps,
)
from postern.journal.writing.together import results

Write = Callable[[Connection, Rows], None]


@dataclass(eq=False, slots=True)
class Batch:
    """The rows and operations of one transaction. `begins` is called before each operation. Afterwards `lost` has the
    ids of rows that could not be written, with the cause for the log, and `results` the result of each operation, or
    its error."""

    runs: Sequence[Row]
    steps: Sequence[Row]
    operations: Sequence[Callable[[Connection], Any]]
    calls: Sequence[Row] = ()
    begins: Callable[[], None] = lambda: None
    lost: dict[str, str] = field(default_factory=dict)
    results: list[tuple[Any, Exception | None]] = field(default_factory=list)


def write_batch(connection: Connection, batch: Batch) -> None:
    """Write it and commit. Raises errors that are not of one row by `is_passing`; then the whole batch is to be
    retried."""
    try:
        _write_all(connection, batch)
    except Exception as error:
        if is_passing(error):
            raise
        _write_one_by_one(connection, batch)  # so that the others are written if one cannot be


def is_passing(error: BaseException) -> bool:
    """Whether the same may succeed later: the database is unavailable, full or locked, or it refuses until an operator
    has corrected it. The statement and its values are right."""
    return kind_of(error) is not Kind.ROW


def _write_all(connection: Connection, batch: Batch) -> None:
    if not (batch.steps or batch.calls or batch.operations) and write_alone(connection, batch.runs):
        return
    with connection.begin():
        if batch.runs:
            write_runs(connection, batch.runs)
        if batch.steps:
            write_steps(connection, batch.steps)
        if batch.calls:
            write_calls(connection, batch.calls)
        # No savepoints, which cost as much as most operations: if one fails here, all are repeated one by one.
        batch.results[:] = [(result, None) for result in results(connection, batch.operations, batch.begins)]


def _write_one_by_one(connection: Connection, batch: Batch) -> None:
    parts: tuple[tuple[Write, Table, Sequence[str], Rows], ...] = (
        (write_runs, runs, COLUMNS, batch.runs),
        (write_steps, steps, STEP_COLUMNS, batch.steps),
        (write_calls, calls, CALL_COLUMNS, batch.calls),
    )
    batch.lost.clear()
    with connection.begin():
        for write, table, columns, rows in parts:
            failed = _failed(connection, write, rows)
            if failed and len(failed) == len(rows):
                _try_plain_row(connection, write, table, columns)
            batch.lost.update((rows[number][0], why) for number, why in failed.items())
        _operate(connection, batch)


def _failed(connection: Connection, write: Write, rows: Rows) -> dict[int, str]:
    """Write each row alone. Returns the places of those that cannot be written, with the cause."""
    failed = {}
    for number, row in enumerate(rows):
        try:
            with connection.begin_nested():
                write(connection, [row])
        except Exception as error:
            if is_passing(error):
                raise
            failed[number] = str(cause_of(error))
    return failed


def _try_plain_row(connection: Connection, write: Write, table: Table, columns: Sequence[str]) -> None:
    """Raise Refused if the table does not accept a row that holds nothing of any caller: then the database is the cause
    that no row can be written, and not the rows. The row is not kept."""
    attempt = connection.begin_nested()
    try:
        write(connection, [[_plain(table, name) for name in columns]])
    except Exception as error:
        if is_passing(error):
            raise
        raise Refused(f"{table.name}: {cause_of(error)}") from None
    finally:
        if attempt.is_active:
            attempt.rollback()


def _plain(table: Table, name: str) -> Any:
    column = table.c[name]
    if column.nullable:
        return None
    if isinstance(column.type, Text):
        return new_id()
    return 1 if isinstance(column.type, Integer) else 1.0


def _operate(connection: Connection, batch: Batch) -> None:
    """Run each operation; one that fails is rolled back alone."""
    batch.results.clear()
    for operation in batch.operations:
        try:
            batch.begins()
            with connection.begin_nested():
                result = operation(connection)
        except Exception as error:
            if is_passing(error):
                raise
            batch.results.append((None, RuntimeError(type(error).__name__)))  # its text may hold recorded data
        else:
            batch.results.append((result, None))
