"""Dumps of a PostgreSQL database, by PostgreSQL's own pg_dump and pg_restore.

Both are told where to go by a URL without a password, which other users of the machine may read in the list of
processes. The password is in their environment, which they may not.
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
    "POSTERN_DATABASE_URL has passwordless=entra, but {tool} takes a password only. Give it a token as one, and run "
    "this again:\n  export PGPASSWORD=$(az account get-access-token --resource-type oss-rdbms "
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
    """The command that writes a dump of Postern's tables, in which there is no password."""
    named = [f"--table={name}" for name in TABLES]
    return ["pg_dump", "--format=custom", "--no-password", *named, f"--file={target}", f"--dbname={_dbname(url)}"]


def restore_command(url: str, source: str) -> list[str]:
    """The command that puts a dump into a database without Postern's tables: all of it, or nothing."""
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]
    return ["pg_restore", *options, f"--dbname={_dbname(url)}", source]


def dump(url: str, target: Path, named: Path) -> None:
    """Write a dump to `target`, an empty file of ours that is to be `named` so. Raises DatabaseFault."""
    run(dump_command(url, str(target)), url, by_hand=dump_command(url, str(named)))
    with target.open("rb") as file:
        os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Dump:
    """What is known of a dump: the migration of its tables, and the schema that they go to."""

    migration: str
    schema: str


def look_at(path: Path) -> Dump:
    """What a dump is that can be read to its end. Raises DatabaseFault where it is damaged, none of Postern's, or of a
    newer Postern that does not suit this one."""
    run(["pg_restore", f"--file={os.devnull}", str(path)])
    tables_of = {name: schema for schema, name in _TABLE.findall(run(["pg_restore", "--list", str(path)]))}
    written = run(["pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(path)])
    found = _MIGRATION.search(written)
    if found is None:
        raise DatabaseFault(f"{path} is no backup of Postern's: it has no migration")
    if not tables_of.keys() >= {table.name for table in RECORDS}:
        raise DatabaseFault(f"{path} is no backup of Postern's: it has other tables")
    try:
        check_revision(found[1])
    except DatabaseFault as fault:
        raise DatabaseFault(f"{path}: {fault}") from None
    return Dump(found[1], tables_of["alembic_version"])


def restore(url: str, source: Path) -> None:
    """Put a dump into a database without Postern's tables: all of it, or nothing. Raises DatabaseFault."""
    run(restore_command(url, str(source)), url)


def move_aside(connection: Connection, schema: str, ready: Callable[[], object] = lambda: None) -> str:
    """Take Postern's tables out of the way, so that a dump can be put in: into a schema of this name, or away where
    they are empty. Gives the schema, "" where none was made. `ready` is called when nobody can write any more, and
    raises where a server has started meanwhile."""
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
    """Undo `move_aside` where a dump could not be put in. `home` is the schema where the tables were."""
    for name in TABLES:
        connection.execute(text(f'ALTER TABLE IF EXISTS {schema}.{name} SET SCHEMA "{home}"'))
    connection.execute(text(f"DROP SCHEMA {schema}"))


def run(command: Sequence[str], url: str = "", by_hand: Sequence[str] = ()) -> str:
    """What a tool of PostgreSQL's prints. Raises DatabaseFault where it is not there, cannot sign in, or fails.
    `by_hand` is the command to run elsewhere, where that is another one."""
    tool = shutil.which(command[0])
    if tool is None:
        raise DatabaseFault(
            f"{command[0]} is not on the PATH. Install PostgreSQL's client programs, of the server's version or newer, "
            f"or run it where they are:\n  {shlex.join(by_hand or command)}"
        )
    done = subprocess.run(  # noqa: S603 the command is ours; a URL cannot add an option to it
        [tool, *command[1:]], env=_environment(url, command[0]), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DatabaseFault(_told(command[0], done.stderr, _password(make_url(url)) if url else ""))
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
    """The URL as PostgreSQL's tools take it: without a password, and without what only Postern knows."""
    parsed = make_url(url)
    if "sslpassword" in parsed.query:
        raise DatabaseFault(
            "POSTERN_DATABASE_URL has sslpassword, which PostgreSQL's tools take in a file only: name that by "
            "PGSERVICEFILE, and run pg_dump or pg_restore yourself"
        )
    plain = without_password(parsed).difference_update_query(["passwordless"])
    return plain.set(drivername="postgresql").render_as_string(hide_password=False)


def _told(tool: str, said: str, password: str) -> str:
    lines = said.strip().splitlines()[:6] or ["it says nothing"]
    text_ = "\n  ".join(lines)
    hints = "".join(f"\n{hint}" for sign, hint in HINTS.items() if sign in said)
    return f"{tool} failed:\n  {text_.replace(password, '…') if password else text_}{hints}"
