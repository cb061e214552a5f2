"""The location of a database without its password, and what it contains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.engine import URL, make_url

from postern.journal.database.engine import revision_of
from postern.journal.schema import grants, idempotency_keys, metadata, refusals, runs, steps

HARMLESS = ("host", "port", "dbname", "user", "sslmode", "passwordless")
"""Parts of a URL's query that may be shown."""
RECORDS = (runs, steps, refusals, idempotency_keys)
"""Tables of the first migration whose rows must not be lost. Server processes insert their own rows again."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a database. Times are Unix seconds, None if there is no run. `size` is in bytes; `migration` is
    "" if there are no tables."""

    migration: str
    size: int
    runs: int = 0
    refusals: int = 0
    oldest: float | None = None
    newest: float | None = None


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite database, links resolved; None for PostgreSQL."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(parsed.database or "").resolve()


def shown(url: str) -> str:
    """The URL, without a password."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return f"sqlite:///{parsed.database}"
    query = {name: value for name, value in parsed.query.items() if name in HARMLESS}
    # Built here, because SQLAlchemy's own function writes a placeholder for a missing part.
    return without_password(parsed).set(drivername="postgresql", query=query).render_as_string(hide_password=False)


def without_password(url: URL) -> URL:
    """The URL with no password in it, neither in front of the host nor in the query."""
    return URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={name: value for name, value in url.query.items() if name not in ("password", "sslpassword")},
    )


def tables(connection: Connection) -> list[str]:
    """Names of the existing tables of Postern, also if only some of them exist."""
    from sqlalchemy import inspect

    known = {*metadata.tables, "alembic_version"}
    return sorted(known.intersection(inspect(connection).get_table_names()))


def is_empty(connection: Connection) -> bool:
    """Whether nothing would be lost with Postern's tables."""
    there = tables(connection)
    kept = [table for table in (*RECORDS, grants) if table.name in there]
    return not any(connection.execute(select(1).select_from(table).limit(1)).first() for table in kept)


def contents(connection: Connection, url: str) -> Contents:
    """What the database contains. Counting takes one pass over an index of all runs."""
    migration, size = revision_of(connection), database_size(connection, url)
    if not migration:
        return Contents(migration, size)

    def count(of: Any) -> int:
        found: int = connection.execute(select(func.count()).select_from(of)).scalar_one()
        return found

    def begun(order: Any) -> float | None:
        found: float | None = connection.execute(select(runs.c.started_at).order_by(order).limit(1)).scalar()
        return found

    return Contents(migration, size, count(runs), count(refusals), begun(runs.c.id), begun(runs.c.id.desc()))


def database_size(connection: Connection, url: str) -> int:
    """Bytes that the database takes."""
    path = sqlite_path(url)
    if path is None:
        found: int = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return found
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())
