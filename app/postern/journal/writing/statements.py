"""The journal's statements for whole batches: one statement writes many rows of a table.

With a statement for each row, SQLite's driver would give up the interpreter lock at each of them and wait to get it
back while the event loop works. SQLite gets the rows as parameters, many at a time. PostgreSQL gets them as one JSON
text, because its driver is slow with many parameters. A commit whose acknowledgement was lost may have happened, so
each statement can be repeated without harm: conflicts are resolved by id.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Double, Integer, Table, delete, select, update

from postern.journal.database.engine import MAX_PREPARED
from postern.journal.run import MOVES, State
from postern.journal.schema import calls, runs, steps
from postern.journal.search_text import search_form
from postern.journal.writing.rows import COLUMNS

Row = Sequence[Any]
Rows = Sequence[Row]

MAX_AT_ONCE = 64
"""Rows in one SQLite statement. One of so many takes 0.3 MiB while it is prepared, and 4 KiB less for each row less."""

MAX_ALONE = 16
"""Rows that are written without a transaction around their statement. More are written in parts of few sizes: there
would be a prepared statement for each number of rows and columns in use, and they stay in memory."""


_CASTS = {Integer: "::integer", Double: "::double precision"}


def _texts(states: Iterable[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


_LEGAL = " OR ".join(
    f"(runs.state = '{before}' AND excluded.state IN ({_texts(afters)}))" for before, afters in MOVES.items() if afters
)
_OUTCOME = (
    *("state", "status", "ended_at", "outputs", "outputs_form", "reply_headers", "error_type", "error_message"),
    *("error_shown", "error_traceback", "search_text", "search_error", "kept_bytes"),
)
_SET_OUTCOME = ", ".join(f"{name} = excluded.{name}" for name in _OUTCOME)
# Another process may have recorded it with the request to cancel.
_KEEP_ACTOR = "cancelled_by = COALESCE(runs.cancelled_by, excluded.cancelled_by)"

STEP_COLUMNS = tuple(column.name for column in steps.columns)
CALL_COLUMNS = tuple(column.name for column in calls.columns)
ONTO_RUNS = f"ON CONFLICT (id) DO UPDATE SET {_SET_OUTCOME}, {_KEEP_ACTOR} WHERE {_LEGAL}"
"""A run that exists is updated if that is a legal move."""
ONTO_PARTS = "ON CONFLICT (run_id, number) DO NOTHING"


def write_runs(connection: Connection, rows: Rows) -> None:
    """Insert runs, or update existing ones with their outcome. Each row has the values of COLUMNS."""
    insert_rows(connection, runs, COLUMNS, ONTO_RUNS, rows)


def remove_run(connection: Connection, run_id: str) -> None:
    """Delete a run that did not start."""
    connection.execute(delete(runs).where(runs.c.id == run_id, runs.c.ended_at.is_(None)))


def take_outcome_back(connection: Connection, run_id: str) -> None:
    """Make a run Interrupted that has just been recorded with its outcome."""
    kept = {"state", "ended_at", "kept_bytes", "search_text"}
    nothing = dict.fromkeys(name for name in _OUTCOME if name not in kept)
    inputs = connection.execute(select(runs.c.caller_name, runs.c.inputs).where(runs.c.id == run_id)).one_or_none()
    values = {**nothing, "state": State.INTERRUPTED.value, "search_text": search_form(*inputs or ())}
    connection.execute(update(runs).where(runs.c.id == run_id).values(values))


def write_alone(connection: Connection, rows: Rows) -> bool:
    """Insert runs as `write_runs` does, in a separate transaction, if one statement can do it. Each call of SQLite
    gives up the interpreter lock, and has to wait for it afterwards. PostgreSQL is waited for once, and not for each of
    BEGIN, INSERT and COMMIT. Returns False if nothing was done."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        if len(rows) > MAX_ALONE:
            return False
        driver.execute(*_for_sqlite(runs, COLUMNS, ONTO_RUNS, rows))
        return True
    if driver.closed:
        return False
    driver.autocommit = True
    try:
        insert_rows(connection, runs, COLUMNS, ONTO_RUNS, rows)
    finally:
        if not driver.closed:
            driver.autocommit = False
    return True


def write_steps(connection: Connection, rows: Rows) -> None:
    """Insert steps that are not there yet. Each row has the values of STEP_COLUMNS."""
    insert_rows(connection, steps, STEP_COLUMNS, ONTO_PARTS, rows)


def write_calls(connection: Connection, rows: Rows) -> None:
    """Insert calls that are not there yet. Each row has the values of CALL_COLUMNS."""
    insert_rows(connection, calls, CALL_COLUMNS, ONTO_PARTS, rows)


def insert_rows(connection: Connection, table: Table, names: tuple[str, ...], conflict: str, rows: Rows) -> None:
    """Insert rows that have the values of these columns, with few statements. `conflict` says what happens to a row
    that exists."""
    # The driver's own cursor, because going through SQLAlchemy costs as much as writing ten rows.
    cursor = connection.connection.cursor()
    try:
        if connection.dialect.name == "sqlite":
            for part in _parts(rows):
                cursor.execute(*_for_sqlite(table, names, conflict, part))
        else:
            cursor.execute(_for_postgres(table, names, conflict), (to_json(rows, inf_nan_mode="null").decode("utf-8"),))
    finally:
        cursor.close()


def _parts(rows: Rows) -> Iterator[Rows]:
    """The rows in parts of 64, 32, 16 and so on, so that there are few different statements to prepare."""
    start, size = 0, MAX_AT_ONCE
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


def _for_sqlite(table: Table, names: tuple[str, ...], conflict: str, rows: Rows) -> tuple[str, list[Any]]:
    """The statement and its parameters, without the columns in which no row has a value: for each None the driver
    searches a converter without success."""
    count = len(rows)
    used = [place for place, values in enumerate(zip(*rows, strict=True)) if values.count(None) < count]
    statement = _sqlite_statement(table, tuple([names[place] for place in used]), conflict, count)
    return statement, [row[place] for row in rows for place in used]


@lru_cache(MAX_PREPARED)
def _sqlite_statement(table: Table, names: tuple[str, ...], conflict: str, count: int) -> str:
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * count)} {conflict}"  # noqa: S608 the same


@cache
def _for_postgres(table: Table, names: tuple[str, ...], conflict: str) -> str:
    values = ", ".join(f"(value->>{n}){_CASTS.get(type(table.c[name].type), '')}" for n, name in enumerate(names))
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    return f"{into} SELECT {values} FROM jsonb_array_elements(%s::jsonb) {conflict}"  # noqa: S608 it contains no input
