"""The journal's statements for whole batches: one statement writes all rows of a table, which come as one JSON text.

With a statement for each row, SQLite's driver would give up the interpreter lock at each of them and wait to get it
back while the event loop works. Each statement may be repeated without harm, because a commit whose acknowledgement
was lost may have happened: ids decide.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Double, Integer, Table

from app.runs.journal.rows import COLUMNS
from app.runs.journal.schema import runs, steps
from app.runs.run import MOVES, State

_CASTS = {Integer: "::integer", Double: "::double precision"}
_MOVABLE = ", ".join(f"'{state}'" for state in State if MOVES[state])
_OUTCOME = ("state", "status", "ended_at", "outputs", "outputs_form", "reply_headers", "error_type", "error_message")


@cache
def insert_runs(dialect: str) -> str:
    """Inserts runs, or moves those that are there on to how they ended, if they have not ended yet."""
    columns = ", ".join(f"{name} = excluded.{name}" for name in (*_OUTCOME, "error_shown"))
    return (
        f"{_insert(runs, COLUMNS, dialect)} ON CONFLICT (id) DO UPDATE SET {columns} "
        f"WHERE runs.state IN ({_MOVABLE}) AND excluded.ended_at IS NOT NULL"
    )


@cache
def insert_steps(dialect: str) -> str:
    """Inserts steps that are not there yet."""
    names = tuple(column.name for column in steps.columns)
    return f"{_insert(steps, names, dialect)} ON CONFLICT (run_id, number) DO NOTHING"


def execute(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute one of the statements with its rows."""
    connection.exec_driver_sql(statement, (to_json(rows, inf_nan_mode="null").decode("utf-8"),))


def _insert(table: Table, names: Sequence[str], dialect: str) -> str:
    if dialect == "sqlite":
        values = [f"value->>{number}" for number in range(len(names))]
        rows = "json_each(?) WHERE true"  # without WHERE, ON CONFLICT would be taken for a join's ON
    else:
        values = [f"(value->>{n}){_CASTS.get(type(table.c[name].type), '')}" for n, name in enumerate(names)]
        rows = "jsonb_array_elements(%s::jsonb)"
    return f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)} FROM {rows}"  # noqa: S608 no input
