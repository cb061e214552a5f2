"""One batch of the journal, written in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from postern.journal.writing.statements import Row, write_alone, write_calls, write_runs, write_steps

_OF_DATABASES = {"DatabaseError", "InterfaceError"}
_OF_STATEMENTS = {"IntegrityError", "DataError", "ProgrammingError", "NotSupportedError"}


@dataclass(eq=False, slots=True)
class Batch:
    """The rows and operations of one transaction. Afterwards `lost` has the ids of rows that could not be written, and
    `results` the result of each operation, or its error."""

    runs: Sequence[Row]
    steps: Sequence[Row]
    operations: Sequence[Callable[[Connection], Any]]
    calls: Sequence[Row] = ()
    lost: set[str] = field(default_factory=set)
    results: list[tuple[Any, Exception | None]] = field(default_factory=list)


def write_batch(connection: Connection, batch: Batch) -> None:
    """Write it and commit. Raises errors that are temporary by `is_passing`; then the whole batch is to be retried."""
    try:
        _write_all(connection, batch)
    except Exception as error:
        if is_passing(error):
            raise
        _write_one_by_one(connection, batch)  # so that the others are written if one cannot be


def is_passing(error: BaseException) -> bool:
    """Whether a retry may succeed: the database is unavailable, full or locked, and the statement is not wrong. The
    driver's own errors have the names that PEP 249 gives them."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(_OF_DATABASES) and names.isdisjoint(_OF_STATEMENTS)


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
        batch.results[:] = [(operation(connection), None) for operation in batch.operations]


def _write_one_by_one(connection: Connection, batch: Batch) -> None:
    parts = ((write_runs, batch.runs), (write_steps, batch.steps), (write_calls, batch.calls))
    rows = [(write, row) for write, rows in parts for row in rows]
    with connection.begin():
        for write, row in rows:
            try:
                with connection.begin_nested():
                    write(connection, [row])
            except Exception as error:
                if is_passing(error):
                    raise
                batch.lost.add(row[0])
        _operate(connection, batch)


def _operate(connection: Connection, batch: Batch) -> None:
    """Run each operation; one that fails is rolled back alone."""
    batch.results.clear()
    for operation in batch.operations:
        try:
            with connection.begin_nested():
                result = operation(connection)
        except Exception as error:
            if is_passing(error):
                raise
            batch.results.append((None, RuntimeError(type(error).__name__)))  # its text may hold recorded data
        else:
            batch.results.append((result, None))
