"""`postern database backup` and `restore`."""

import errno
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from postern.cli.open_database import database_url, living_on, named, on_record, opened, refuse_newcomers, told
from postern.cli.terminal import err, plain, stop
from postern.errors import DatabaseFault
from postern.journal.database import postgres_dumps, sqlite_copies
from postern.journal.database.contents import is_empty, shown, sqlite_path
from postern.journal.database.engine import check_revision, lock_tables, migrate, open_engine, revision_of
from postern.journal.database.revisions import HEAD
from postern.journal.live_processes import registered
from postern.journal.server_processes import ServerProcess

Force = Annotated[bool, typer.Option("--force", help="Also where FILE is there already: it is replaced.")]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write, for its owner only.")],
    force: Force = False,
) -> None:
    """Write a backup of the database while servers go on: a copy of the file for SQLite, a dump by pg_dump for
    PostgreSQL. It is read to its end before it gets its name."""
    url = database_url()
    with told(url), _tidy():
        _refuse_to_overwrite(file, url, force=force)
        path = sqlite_path(url)
        if path is not None:
            with opened(url) as engine, engine.begin() as connection:
                _refuse_without_tables(revision_of(connection), url)
        with sqlite_copies.new_file(file.absolute()) as made:
            if path is None:
                with err.status("pg_dump writes the dump …"):
                    postgres_dumps.dump(url, made, file)
            else:
                _copy(path, made, file)
            with err.status("Reading it to its end …"):
                migration = _checked(made, url)
            _refuse_to_overwrite(file, url, force=force)
            made.replace(file.absolute())
    size = file.stat().st_size / 1024**2
    line = f"{file}: {size:,.1f} MiB, migration {migration}, checked. It holds what callers sent: keep it as safe."
    err.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of the same kind of database.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also over a database that has records: it is moved aside.")
    ] = False,
) -> None:
    """Put a backup in the database's place, while no server runs. It is checked first, and brought to this program's
    migration afterwards."""
    url = database_url()
    aside = datetime.now(UTC).strftime("replaced-%Y%m%dT%H%M%SZ")
    with told(url), _tidy():
        _refuse_other_kind(file, url)
        path = sqlite_path(url)
        if path is None:
            moved, found = _restore_dump(file, url, aside.lower().replace("-", "_"), force=force)
        else:
            with err.status("Checking the backup …"):
                found = sqlite_copies.look_at(file)
            seen = _refuse_to_replace(url, force=force) if path.exists() else None

            def ready() -> None:
                if seen is not None:
                    with opened(url) as engine:
                        refuse_newcomers(seen, on_record(engine))

            with err.status("Copying the backup …"):
                moved = str(sqlite_copies.put_in_place(file, path, f".{aside}", ready) or "")
    steps = f"migration {found}" if found == HEAD else f"migration {found}, now {HEAD}"
    err.print(plain(f"{shown(url)} is that of {file}: {steps}."), markup=False, highlight=False, soft_wrap=True)
    if moved:
        what = "schema" if path is None else "file"
        text_ = f"What was there is in the {what} {moved}: remove it when you do not need it."
        err.print(plain(text_), markup=False, highlight=False, soft_wrap=True)


def _refuse_without_tables(migration: str, url: str) -> None:
    if not migration:
        raise DatabaseFault(f"POSTERN_DATABASE_URL, {shown(url)}: it has no tables yet, so there is nothing to back up")
    check_revision(migration)


def _checked(made: Path, url: str) -> str:
    """The migration of a new backup. Where it is damaged, so is the database."""
    try:
        return postgres_dumps.look_at(made).migration if sqlite_path(url) is None else sqlite_copies.look_at(made)
    except DatabaseFault as fault:
        raise DatabaseFault(str(fault).replace(str(made), f"the copy of {shown(url)}")) from None


@contextmanager
def _tidy() -> Iterator[None]:
    """What was begun is removed also where the command is told to end, as by systemd or a terminal that closes."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _copy(path: Path, made: Path, file: Path) -> None:
    with err.status("Copying …") as status:

        def progress(left: int, total: int) -> None:
            status.update(f"Copying: {100 - 100 * left // max(total, 1)} % of {total:,} pages …")

        try:
            sqlite_copies.copy(path, made, progress)
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from None  # not the database's own disk


def _refuse_to_overwrite(file: Path, url: str, *, force: bool) -> None:
    path = sqlite_path(url)
    if file.is_dir():
        stop(f"{file} is a folder: name a file in it.", 2)
    if not file.absolute().parent.is_dir():
        stop(f"{file}: there is no folder {file.parent}. Make it first.", 2)
    if path is not None and file.resolve() in (path, *sqlite_copies.beside(path)):
        stop(f"{file} is the database itself, or its log: name another file.", 2)
    if file.exists() and not force:
        stop(f"{file} is there already: name another file, or replace it with --force.", 2)


def _refuse_other_kind(file: Path, url: str) -> None:
    """A backup is of one kind of database, which its first bytes tell."""
    with file.open("rb") as opened_file:
        begins = opened_file.read(len(sqlite_copies.MAGIC))
    of_sqlite = begins == sqlite_copies.MAGIC
    if not of_sqlite and not begins.startswith(postgres_dumps.MAGIC):
        raise DatabaseFault(f"{file} is no backup: neither a file of SQLite's nor a dump of pg_dump --format=custom")
    if of_sqlite != (sqlite_path(url) is not None):
        kind = "SQLite" if of_sqlite else "PostgreSQL"
        raise DatabaseFault(f"{file} is a backup of {kind}, but POSTERN_DATABASE_URL is {shown(url)}")


def _refuse_to_replace(url: str, *, force: bool) -> list[ServerProcess] | None:
    """End the command where a server runs on the database, or where it has records and nobody said --force. Gives the
    nodes that have a row, None where it is damaged."""
    try:
        with opened(url) as engine:
            seen = on_record(engine)
            nodes = living_on(engine)
            with engine.begin() as connection:
                empty = is_empty(connection)
    except DBAPIError:
        if not force or sqlite_path(url) is None:
            raise
        return None  # damaged: who says --force knows that no server runs
    if nodes:
        stop(f"servers run on {shown(url)}: {named(nodes)}. Stop them first.")
    if not empty and not force:
        stop(f"{shown(url)} has records. With --force it is moved aside, and the backup takes its place.", 2)
    return seen


def _restore_dump(file: Path, url: str, aside: str, *, force: bool) -> tuple[str, str]:
    """The schema that the old tables are in, "" for none, and the migration that the dump had."""
    with err.status("Reading the dump to its end …"):
        dump = postgres_dumps.look_at(file.absolute())
    seen = _refuse_to_replace(url, force=force) or []
    engine = open_engine(url, writing=True)
    try:
        with engine.connect() as guard:
            lock_tables(guard)  # a server that starts now waits until the dump is in
            with engine.begin() as connection:
                home = str(connection.execute(text("SELECT current_schema()")).scalar())
                _refuse_other_schema(file, dump.schema, home)
                schema = postgres_dumps.move_aside(
                    connection, f"postern_{aside}", lambda: refuse_newcomers(seen, registered(connection))
                )
            try:
                with err.status("pg_restore puts the dump in …"):
                    postgres_dumps.restore(url, file.absolute())
            except BaseException:
                if schema:
                    with engine.begin() as connection:
                        postgres_dumps.move_back(connection, schema, home)
                raise
        with err.status("Bringing the tables to this program's migration …"):
            migrate(engine)
    finally:
        engine.dispose()
    return schema, dump.migration


def _refuse_other_schema(file: Path, schema: str, home: str) -> None:
    """The tables of a dump go where they were, which a server of this database would not see."""
    if schema != home:
        raise DatabaseFault(
            f"{file} has its tables in the schema {schema}, and POSTERN_DATABASE_URL leads to {home}: restore it where "
            f"that is the schema, as by options=-csearch_path%3D{schema} in the URL"
        )
