"""Dumps of a PostgreSQL database, by PostgreSQL's own pg_dump and pg_restore.

Both get a URL without a password, because other users of the machine may read it in the list of processes. The password
is in the environment, which other users may not read.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.schema import CreateSchema

from postern.errors import DatabaseFault
from postern.journal.database.contents import RECORDS, is_empty, tables, without_password
from postern.journal.database.engine import CONNECT_SECONDS, check_revision
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

_MIGRATION = re.compile(r"^COPY .*alembic_version \(version_num\) FROM stdin;\n(\w+)$", re.MULTILINE)
_TABLE = re.compile(r"^[0-9]+; [0-9]+ [0-9]+ TABLE (.+?) (\w+) ", re.MULTILINE)


def dump_command(url: str, target: str) -> list[str]:
    """The command that writes a dump of Postern's tables. It contains no password."""
    named = [f"--table={name}" for name in TABLES]
    return ["pg_dump", "--format=custom", "--no-password", *named, f"--file={target}", f"--dbname={_dbname(url)}"]


def restore_command(url: str, source: str) -> list[str]:
    """The command that restores a dump to a database without Postern's tables: all of it, or nothing."""
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]
    return ["pg_restore", *options, f"--dbname={_dbname(url)}", source]


def dump(url: str, target: Path, named: Path) -> None:
    """Write a dump to `target`, an empty file that will be renamed to `named`. Raises DatabaseFault."""
    run(dump_command(url, str(target)), url, by_hand=dump_command(url, str(named)))
    with target.open("rb") as file:
        os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Dump:
    """The migration of a dump's tables, and their schema."""

    migration: str
    schema: str


def look_at(path: Path) -> Dump:
    """Read a dump to its end and describe it. Raises DatabaseFault if it is damaged, not of Postern, or of a newer
    Postern that is not compatible."""
    run(["pg_restore", f"--file={os.devnull}", str(path)])
    tables_of = {name: schema for schema, name in _TABLE.findall(run(["pg_restore", "--list", str(path)]))}
    written = run(["pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(path)])
    found = _MIGRATION.search(written)
    if found is None:
        raise DatabaseFault(f"{path} is not a backup of Postern: it has no migration")
    if not tables_of.keys() >= {table.name for table in RECORDS}:
        raise DatabaseFault(f"{path} is not a backup of Postern: it has other tables")
    try:
        check_revision(found[1])
    except DatabaseFault as fault:
        raise DatabaseFault(f"{path}: {fault}") from None
    return Dump(found[1], tables_of["alembic_version"])


def restore(url: str, source: Path) -> None:
    """Restore a dump to a database without Postern's tables: all of it, or nothing. Raises DatabaseFault."""
    run(restore_command(url, str(source)), url)


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


def move_back(connection: Connection, schema: str, home: str) -> None:
    """Undo `move_aside` after a failed restore. `home` is the schema where the tables were."""
    for name in TABLES:
        connection.execute(text(f'ALTER TABLE IF EXISTS {schema}.{name} SET SCHEMA "{home}"'))
    connection.execute(text(f"DROP SCHEMA {schema}"))


def run(command: Sequence[str], url: str = "", by_hand: Sequence[str] = ()) -> str:
    """Run a tool of PostgreSQL and return what it prints. Raises DatabaseFault if it is missing, cannot sign in, or
    fails. `by_hand` is the command to run elsewhere, if it differs."""
    tool = shutil.which(command[0])
    if tool is None:
        raise DatabaseFault(
            f"{command[0]} is not on the PATH. Install PostgreSQL's client programs, of the server's version or newer, "
            f"or run it where they are:\n  {shlex.join(by_hand or command)}"
        )
    done = subprocess.run(  # noqa: S603 the command is fixed; a URL cannot add an option to it
        [tool, *command[1:]], env=_environment(url, command[0]), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DatabaseFault(_failure(command[0], done.stderr, _password(make_url(url)) if url else ""))
    return done.stdout


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
