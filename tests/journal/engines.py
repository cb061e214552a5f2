"""Databases with the journal's tables, and rows in them."""

from typing import Any

from sqlalchemy import Engine, Table, insert, inspect

from postern.journal.database.engine import open_engine
from postern.journal.schema import metadata


def empty_journal(url: str) -> Engine:
    """An engine that writes to the journal's tables. They are made if the database has none."""
    engine = open_engine(url, writing=True)
    if not inspect(engine).get_table_names():
        metadata.create_all(engine)
    return engine


def add(engine: Engine, table: Table, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table), list(rows))


def run_row(run_id: str, **others: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": run_id,
        "workflow": "hello",
        "state": "Running",
        "caller_kind": "anonymous",
        "client_address": "192.0.2.1",
        "started_at": 1000.0,
        "ended_at": None,
        "trace_id": "0" * 32,
        "node": "node-1",
        "cancel_requested_at": None,
    }
    return row | others


def all_of(engine: Engine, table: Table, column: str = "id") -> list[Any]:
    with engine.begin() as connection:
        return sorted(connection.execute(table.select()).mappings().all(), key=lambda row: row[column])
