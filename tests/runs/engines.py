"""Databases with the journal's tables, and rows in them."""

from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert

from app.runs.journal.schema import metadata


def engine_of(url: str) -> Engine:
    """An engine whose transactions write: SQLite's hold the writer's place from their beginning."""
    if not url.startswith("sqlite"):
        return create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), pool_size=10, max_overflow=0)
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _(connection: Any, __: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def empty_journal(url: str) -> Engine:
    """An engine on the journal's tables, which are made."""
    engine = engine_of(url)
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
