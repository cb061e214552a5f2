"""The database of checkpoints: a file beside SQLite's, or the schema `dbos` in the database of PostgreSQL."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url

from postern.journal.database.engine import IDLE_SECONDS, file_of, open_engine
from postern.own_folder import beside

BUSY_MS = 30_000


def checkpoints_file(url: str) -> Path | None:
    """SQLite's file of checkpoints; None on PostgreSQL."""
    path = file_of(url)
    return None if path is None else beside(path, "durable")


def checkpoints_url(url: str) -> str:
    """The address of the database, without its password, for DBOS, which does not connect by it."""
    path = checkpoints_file(url)
    if path is not None:
        return URL.create("sqlite", database=str(path)).render_as_string()
    parsed = make_url(url)
    return f"postgresql+psycopg://{parsed.host or 'socket'}/{parsed.database}"


def checkpoints_engine(url: str) -> Engine:
    """An engine for DBOS: as durable as the journal's own."""
    path = checkpoints_file(url)
    if path is None:
        engine = open_engine(url, writing=True)

        @event.listens_for(engine, "connect")
        def _limit(connection: Any, _: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
            connection.commit()

        return engine
    path.touch(mode=0o600)
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=2, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
