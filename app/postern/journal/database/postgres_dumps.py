"""Dumps of a PostgreSQL database, by PostgreSQL's own pg_dump and pg_restore.

Both get a URL without a password, because other users of the machine may read it in the list of processes. The password
is in the environment, which other users may not read.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from postern.errors import DatabaseFault
from postern.journal.database.contents import RECORDS, is_empty, tables, without_password
from postern.journal.database.dump_script import Encoding, Index, Key, Piece, Rows, Table, foreign, pieces
from postern.journal.database.engine import CONNECT_SECONDS, check_revision
from postern.journal.database.revisions import is_newer
from postern.journal.restored import settle
from postern.journal.schema import metadata

MAGIC = b"PGDMP"
TABLES = (*sorted(metadata.tables), "alembic_version")
ENTRA_FIX = (
    "POSTERN_DATABASE_URL has passwordless=entra, but {tool} accepts only a password. Give it a token as the password, "
    "and run this again:\n  export PGPASSWORD=$(az account get-access-token --resource-type oss-rdbms "
    "--query accessToken --output tsv)"
)
HINTS = {
    "version mismatch": "Put client programs of the server's version, or newer ones, first on the PATH.",
    "unsupported version": "Put the client programs that made the dump, or newer ones, first on the PATH.",
    "no matching tables": "The database has no tables yet: there is nothing to back up.",
    "no password supplied": "Name a file of passwords by PGPASSFILE, or set PGPASSWORD.",
}


def dump_command(url: str, target: str) -> list[str]:
    """The command that writes a dump of Postern's tables. It contains no password."""
    named = [f"--table={name}" for name in TABLES]
    return ["pg_dump", "--format=custom", "--no-password", *named, f"--file={target}", f"--dbname={_dbname(url)}"]


def dump(url: str, target: Path, named: Path) -> None:
    """Write a dump to `target`, an empty file that will be renamed to `named`. Raises DatabaseFault."""
    run(dump_command(url, str(target)), url, by_hand=dump_command(url, str(named)))
    with target.open("rb") as file:
        os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Dump:
    """The migration of a dump's tables, their schema, and the parts that it has."""

    migration: str
    schema: str
    parts: frozenset[Piece]


def look_at(path: Path) -> Dump:
    """Read a dump to its end and describe it. Raises DatabaseFault if it is damaged, not of Postern, has anything but
    Postern's tables, or is of a newer Postern that is not compatible."""
    found: list[Piece] = []
    migration = ""
    for piece in _pieces(path):
        if not isinstance(piece, bytes):
            found.append(piece)
        elif isinstance(found[-1], Rows) and found[-1].table == "alembic_version":
            migration = piece.decode("ascii", "replace").strip()
    schemas = {piece.name: piece.schema for piece in found if isinstance(piece, Table)}
    if not migration or "alembic_version" not in schemas:
        raise DatabaseFault(f"{path} is not a backup of Postern: it has no migration")
    if not schemas.keys() >= {table.name for table in RECORDS}:
        raise DatabaseFault(f"{path} is not a backup of Postern: it has other tables")
    try:
        check_revision(migration)
    except DatabaseFault as fault:
        raise DatabaseFault(f"{path}: {fault}") from None
    if names := foreign(found, newer=is_newer(migration)):
        raise DatabaseFault(f"{path} is not a backup of Postern alone: it has {', '.join(names[:10])}")
    if len(set(schemas.values())) > 1:
        raise DatabaseFault(f"{path} has tables in several schemas: {', '.join(sorted(set(schemas.values())))}")
    return Dump(migration, schemas["alembic_version"], frozenset(found))


def restore(connection: Connection, source: Path, dump: Dump) -> None:
    """Restore a dump in this connection's transaction, in a schema without Postern's tables. No SQL of the dump is
    executed: its tables are made anew from what was read. What has ended since then is left out (`restored.py`). Raises
    DatabaseFault; the transaction then has to end."""
    try:
        _make(connection, source, dump)
    except (DBAPIError, connection.dialect.loaded_dbapi.Error) as error:
        why = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise DatabaseFault(f"{source} cannot be restored, and nothing was changed: {why}") from None


def _make(connection: Connection, source: Path, dump: Dump) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - the connection is open
    rows: Any = None
    with ExitStack() as stack:
        for piece in _pieces(source):
            if isinstance(piece, bytes):
                rows.write(piece)
                continue
            stack.close()  # ends the rows of the table before
            if piece not in dump.parts:
                raise DatabaseFault(f"{source} was changed while it was read")
            if isinstance(piece, Rows):
                rows = stack.enter_context(driver.cursor().copy(statement_of(piece)))
            else:
                connection.execute(text(statement_of(piece)))
    settle(connection, {piece.name for piece in dump.parts if isinstance(piece, Table)})


def statement_of(piece: Piece) -> str:
    """The SQL that makes one part. All names are plain ones."""
    match piece:
        case Encoding(name):
            return f"SET LOCAL client_encoding = '{name}'"
        case Table(schema, name, columns):
            parts = [f'"{each}" {kind}{"" if optional else " NOT NULL"}' for each, kind, optional in columns]
            return f'CREATE TABLE "{schema}"."{name}" ({", ".join(parts)})'
        case Key(schema, table, name, keys):
            return f'ALTER TABLE "{schema}"."{table}" ADD CONSTRAINT "{name}" PRIMARY KEY ({_quoted(keys)})'
        case Index(schema, table, name, keys, condition):
            where = f" WHERE {condition}" if condition else ""  # of Postern's own index
            return f'CREATE INDEX "{name}" ON "{schema}"."{table}" ({_quoted(keys)}){where}'
        case Rows(schema, table, keys):
            return f'COPY "{schema}"."{table}" ({_quoted(keys)}) FROM STDIN'


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _pieces(path: Path) -> Iterator[Piece | bytes]:
    """The parts and rows of a dump. Raises DatabaseFault if it cannot be read to its end."""
    options = ["--no-owner", "--no-privileges", "--no-comments", "--no-security-labels"]
    command = ["pg_restore", *options, "--file=-", str(path)]
    with TemporaryFile() as said, _started(command, said) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield from pieces(process.stdout)
        except DatabaseFault as fault:
            raise DatabaseFault(f"{path} is not a backup of Postern alone: it has {fault}") from None
        finally:
            process.stdout.close()
            code = process.wait()
        if code != 0:
            said.seek(0)
            raise DatabaseFault(_failure(command[0], said.read(100_000).decode("utf-8", "replace"), ""))


def _started(command: Sequence[str], said: IO[bytes]) -> "subprocess.Popen[bytes]":
    tool = _tool(command, command)
    return subprocess.Popen(  # noqa: S603 the command is fixed; a path cannot add an option to it
        [tool, *command[1:]], env=_environment("", command[0]), stdout=subprocess.PIPE, stderr=said
    )


def dump_rows(url: str, target: Path, named: Path, tables: Sequence[str]) -> None:
    """Write a dump of the rows of tables, each named with its schema, to an empty file that will be renamed to `named`.
    Raises DatabaseFault."""
    options = ["--format=custom", "--no-password", "--data-only", *(f"--table={name}" for name in tables)]
    command, by_hand = (["pg_dump", *options, f"--file={file}", f"--dbname={_dbname(url)}"] for file in (target, named))
    run(command, url, by_hand=by_hand)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def check_rows(source: Path, tables: Sequence[str]) -> None:
    """Read a dump of rows to its end. Raises DatabaseFault if it is damaged, or has anything but rows of these
    tables."""
    for piece in _pieces(source):
        if not isinstance(piece, bytes | Encoding) and not _is_of(piece, tables):
            raise DatabaseFault(f"{source} is no backup of checkpoints: it has other tables")


def restore_rows(connection: Connection, source: Path, tables: Sequence[str]) -> None:
    """Put the rows of a dump into empty tables that are there. No SQL of the dump is executed. Raises DatabaseFault;
    the transaction then has to end."""
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - the connection is open
    rows: Any = None
    try:
        with ExitStack() as stack:
            for piece in _pieces(source):
                if isinstance(piece, bytes):
                    rows.write(piece)
                    continue
                stack.close()  # ends the rows of the table before
                if isinstance(piece, Rows) and _is_of(piece, tables):
                    rows = stack.enter_context(driver.cursor().copy(statement_of(piece)))
                elif isinstance(piece, Encoding):
                    connection.execute(text(statement_of(piece)))
                else:
                    raise DatabaseFault(f"{source} is no backup of checkpoints: it has other tables")
    except (DBAPIError, connection.dialect.loaded_dbapi.Error) as error:
        why = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise DatabaseFault(f"{source} cannot be restored: {why}") from None


def _is_of(piece: Piece, tables: Sequence[str]) -> bool:
    return isinstance(piece, Rows) and f"{piece.schema}.{piece.table}" in tables


def move_aside(connection: Connection, schema: str, ready: Callable[[], object] = lambda: None) -> str:
    """Move Postern's tables to a schema of this name, so that a dump can be restored. Empty tables are dropped. Returns
    the schema, "" if none was made. `ready` is called when the tables are locked against writes, and raises if a server
    has started meanwhile."""
    there = tables(connection)
    if there:
        connection.execute(text(f"LOCK TABLE {', '.join(there)} IN ACCESS EXCLUSIVE MODE"))
    ready()
    if is_empty(connection):
        for name in there:
            connection.execute(text(f"DROP TABLE {name}"))
        return ""
    connection.execute(CreateSchema(schema))
    for name in there:
        connection.execute(text(f"ALTER TABLE {name} SET SCHEMA {schema}"))
    return schema


def run(command: Sequence[str], url: str = "", by_hand: Sequence[str] = ()) -> str:
    """Run a tool of PostgreSQL and return what it prints. Raises DatabaseFault if it is missing, cannot sign in, or
    fails. `by_hand` is the command to run elsewhere, if it differs."""
    tool = _tool(command, by_hand or command)
    done = subprocess.run(  # noqa: S603 the command is fixed; a URL cannot add an option to it
        [tool, *command[1:]], env=_environment(url, command[0]), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DatabaseFault(_failure(command[0], done.stderr, _password(make_url(url)) if url else ""))
    return done.stdout


def _tool(command: Sequence[str], by_hand: Sequence[str]) -> str:
    tool = shutil.which(command[0])
    if tool is None:
        raise DatabaseFault(
            f"{command[0]} is not on the PATH. Install PostgreSQL's client programs, of the server's version or newer, "
            f"or run it where they are:\n  {shlex.join(by_hand)}"
        )
    return tool


def _environment(url: str, tool: str) -> Mapping[str, str]:
    environ = {"PGCONNECT_TIMEOUT": str(CONNECT_SECONDS), "PGAPPNAME": "postern", **os.environ}
    if not url:
        return environ
    parsed = make_url(url)
    if "passwordless" in parsed.query and not environ.get("PGPASSWORD"):
        raise DatabaseFault(ENTRA_FIX.format(tool=tool))
    password = _password(parsed)
    return environ | {"PGPASSWORD": password} if password else environ


def _password(url: URL) -> str:
    given = url.password or url.query.get("password") or ""
    return given if isinstance(given, str) else given[-1]


def _dbname(url: str) -> str:
    """The URL for PostgreSQL's tools: without a password, and without Postern's own parameters."""
    parsed = make_url(url)
    if "sslpassword" in parsed.query:
        raise DatabaseFault(
            "POSTERN_DATABASE_URL has sslpassword, which PostgreSQL's tools accept only in a file: name it in "
            "PGSERVICEFILE, and run pg_dump or pg_restore yourself"
        )
    plain = without_password(parsed).difference_update_query(["passwordless"])
    return plain.set(drivername="postgresql").render_as_string(hide_password=False)


def _failure(tool: str, said: str, password: str) -> str:
    lines = said.strip().splitlines()[:6] or ["no message"]
    text_ = "\n  ".join(lines)
    hints = "".join(f"\n{hint}" for sign, hint in HINTS.items() if sign in said)
    return f"{tool} failed:\n  {text_.replace(password, '…') if password else text_}{hints}"
