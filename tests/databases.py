"""Databases that have their tables already: creating them by the migrations takes half a second each time."""

import tempfile
from functools import cache
from pathlib import Path

from postern.journal.database.engine import migrate, open_engine


def make_tables(url: str) -> None:
    """Upgrade the tables of a database to the program's migration."""
    engine = open_engine(url, writing=True)
    migrate(engine)
    engine.dispose()


@cache
def sqlite_file() -> bytes:
    """An SQLite file that has the tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.db")
        make_tables(f"sqlite:///{path}")  # the last connection that closes leaves nothing in the log beside it
        return path.read_bytes()


def put_sqlite(path: Path) -> str:
    """The URL of a file with empty tables."""
    if not path.exists():
        path.write_bytes(sqlite_file())
        path.chmod(0o600)
    return f"sqlite:///{path}"
