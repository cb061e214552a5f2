"""What the journal's databases hold, measured from outside the server."""

from pathlib import Path

from sqlalchemy import Table, create_engine, func, inspect, make_url, select, text

from postern.journal import schema


def count_runs(url: str) -> int:
    """The number of recorded runs."""
    return _count(url, schema.runs)


def count_refusals(url: str) -> int:
    """How many rows the refusals have."""
    return _count(url, schema.refusals)


def size(url: str) -> int:
    """Bytes of the database with its indices: SQLite's file and its log after a checkpoint, PostgreSQL's own sum."""
    engine = create_engine(with_driver(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            file = Path(engine.url.database or "")
            found = sum(path.stat().st_size for path in (file, file.with_name(file.name + "-wal")))
        else:
            found = connection.scalar(text("SELECT pg_database_size(current_database())")) or 0
    engine.dispose()
    return int(found)


def _count(url: str, table: Table) -> int:
    engine = create_engine(with_driver(url))
    with engine.connect() as connection:
        there = inspect(connection).has_table(table.name)  # the writer makes it, a moment after the server has started
        found = connection.scalar(select(func.count()).select_from(table)) or 0 if there else 0
    engine.dispose()
    return found


def with_driver(url: str) -> str:
    """The URL by which SQLAlchemy finds the driver."""
    parsed = make_url(url)
    driver = "sqlite+pysqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)
