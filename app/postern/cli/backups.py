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
from typing import Annotated, Any

import typer
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from postern.cli.open_database import (
    database_url,
    named,
    opened,
    refuse_new_servers,
    registered_servers,
    reported_faults,
    running_servers,
)
from postern.cli.terminal import err, fail, plain, stop
from postern.durable import checkpoint_copies
from postern.errors import DatabaseFault
from postern.journal.database import postgres_dumps, sqlite_copies, sqlite_file
from postern.journal.database.contents import is_empty, shown, sqlite_path
from postern.journal.database.engine import check_revision, lock_tables, migrate, open_engine, revision_of
from postern.journal.database.revisions import HEAD
from postern.journal.durable_restored import count_restored, go_on, note_lost
from postern.journal.live_processes import registered
from postern.journal.restored import revocations_in, take_over
from postern.journal.server_processes import ServerProcess

Force = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, readable by its owner only.")],
    force: Force = False,
) -> None:
    """Write a backup of the database, also while servers run: a copy of the file for SQLite, a dump by pg_dump for
    PostgreSQL. The backup is checked to its end before it gets its name."""
    url = database_url()
    with reported_faults(url), _tidy():
        _refuse_to_overwrite(file, url, force=force)
        path = sqlite_path(url)
        if path is not None:
            with opened(url) as engine, engine.begin() as connection:
                _refuse_without_tables(revision_of(connection), url)
        _refuse_to_overwrite(checkpoint_copies.beside(file), url, force=force)
        with sqlite_copies.new_file(file.absolute()) as made, _beside(file) as made_beside:
            if path is None:
                with err.status("pg_dump writes the dump …"):
                    postgres_dumps.dump(url, made, file)
            else:
                _copy(path, made, file)
            both = checkpoint_copies.exist(url)
            if both:  # soon after the journal, so that it has all checkpoints of its runs
                with err.status("Copying the checkpoints of durable runs …"):
                    checkpoint_copies.back_up(url, made_beside, checkpoint_copies.beside(file))
            with err.status("Checking the backup …"):
                migration = _checked(made, url)
            _refuse_to_overwrite(file, url, force=force)
            made.replace(file.absolute())
            if both:
                made_beside.replace(checkpoint_copies.beside(file.absolute()))
    size = file.stat().st_size / 1024**2
    line = f"{file}: {size:,.1f} MiB, migration {migration}, checked. It contains callers' data: keep it safe."
    err.print(plain(line), markup=False, highlight=False, soft_wrap=True)
    if both:
        line = f"{checkpoint_copies.beside(file)} has the checkpoints of durable runs: keep both together."
        err.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of the same kind of database.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also if the database has records: it is moved aside.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Durable runs go on. Only if no server has run since the backup was made."),
    ] = False,
) -> None:
    """Replace the database by a backup, while no server runs. The backup is checked first, and upgraded to this
    program's migration afterwards. Durable runs that had not ended are parked: what they did since the backup is not
    known."""
    url = database_url()
    aside = datetime.now(UTC).strftime("replaced-%Y%m%dT%H%M%SZ")
    with reported_faults(url), _tidy():
        _refuse_other_kind(file, url)
        path = sqlite_path(url)
        beside = checkpoint_copies.beside(file)
        checkpoints = beside if beside.exists() else None
        if checkpoints is not None:
            checkpoint_copies.check(url, checkpoints)
        revoked = _revocations_in(url) if path is None or path.exists() else []
        if path is None:
            moved, found = _restore_dump(file, url, aside.lower().replace("-", "_"), force=force)
        else:
            with err.status("Checking the backup …"):
                found = sqlite_copies.look_at(file)
            seen = _refuse_to_replace(url, force=force) if path.exists() else None

            def ready() -> None:
                if seen is not None:
                    with opened(url) as engine:
                        refuse_new_servers(seen, registered_servers(engine))

            with err.status("Copying the backup …"):
                moved = str(sqlite_copies.put_in_place(file, path, f".{aside}", ready) or "")
        _take_over(revoked, url)
        before = checkpoint_copies.restore(url, checkpoints, aside if path else aside.lower().replace("-", "_"))
        unended = _unended(url, resume=resume, lost=checkpoints is None)
    steps = f"migration {found}" if found == HEAD else f"migration {found}, now {HEAD}"
    err.print(plain(f"{shown(url)} was restored from {file}: {steps}."), markup=False, highlight=False, soft_wrap=True)
    if moved:
        what = "schema" if path is None else "file"
        text_ = f"The previous database is in the {what} {moved}: remove it when you no longer need it."
        err.print(plain(text_), markup=False, highlight=False, soft_wrap=True)
    if before:
        err.print(plain(f"The previous checkpoints are in {before}."), markup=False, highlight=False, soft_wrap=True)
    if unended:
        err.print(plain(unended), markup=False, highlight=False, soft_wrap=True)


def _unended(url: str, *, resume: bool, lost: bool) -> str:
    """What became of the durable runs that had not ended, "" if there are none."""
    engine = open_engine(url, writing=True)
    try:
        with engine.begin() as connection:
            count, anew = count_restored(connection), note_lost(connection) if lost else 0
            going_on = go_on(connection) if resume else 0
    finally:
        engine.dispose()
    if not count:
        return ""
    lines = [f"Durable runs that had not ended: {count:,}."]
    if anew:
        lines.append(
            f"The backup has no checkpoints of {anew:,} of them, which had begun: they are parked with the reason "
            "checkpoints-missing, and repeat all their steps if they are resumed."
        )
    if going_on:
        lines.append(f"{going_on:,} go on when a server starts.")
    elif count > anew:
        lines.append(
            f"{count - anew:,} are parked with the reason restored, because what they did since the backup is not "
            "known: resume or cancel each."
        )
    return " ".join(lines)


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A new file for the checkpoints."""
    with sqlite_copies.new_file(checkpoint_copies.beside(file.absolute())) as made:
        yield made


def _revocations_in(url: str) -> list[dict[str, Any]] | None:
    """The revocations of the database that will be replaced; None if it cannot be read."""
    try:
        with opened(url) as engine, engine.connect() as connection:
            return revocations_in(connection)
    except (DBAPIError, DatabaseFault):
        return None


def _take_over(revoked: list[dict[str, Any]] | None, url: str) -> None:
    """Keep the revocations: a backup gives no access back. If they are not known, say so."""
    if revoked is None:
        fail(
            "The revocations of the previous database could not be read, so those that were made since the backup are "
            "lost: revoke again what has to stay revoked."
        )
        return
    if not revoked:
        return
    engine = open_engine(url, writing=True)
    try:
        with engine.begin() as connection:
            kept = take_over(connection, revoked)
    finally:
        engine.dispose()
    line = f"Revocations of the previous database were kept: {kept:,}."
    err.print(line, markup=False, highlight=False)


def _refuse_without_tables(migration: str, url: str) -> None:
    if not migration:
        raise DatabaseFault(f"POSTERN_DATABASE_URL, {shown(url)}: it has no tables yet, so there is no data to back up")
    check_revision(migration)


def _checked(made: Path, url: str) -> str:
    """The migration of a new backup. If the backup is damaged, so is the database."""
    try:
        return postgres_dumps.look_at(made).migration if sqlite_path(url) is None else sqlite_copies.look_at(made)
    except DatabaseFault as fault:
        raise DatabaseFault(str(fault).replace(str(made), f"the copy of {shown(url)}")) from None


@contextmanager
def _tidy() -> Iterator[None]:
    """Remove unfinished files also when a signal ends the command, as from systemd or a terminal that closes."""

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
        stop(f"{file}: there is no folder {file.parent}. Create it first.", 2)
    if path is not None and file.resolve() in (path, *sqlite_copies.beside(path)):
        stop(f"{file} is the database itself, or its log: name another file.", 2)
    if file.exists() and not force:
        stop(f"{file} already exists: name another file, or replace it with --force.", 2)


def _refuse_other_kind(file: Path, url: str) -> None:
    """Raise DatabaseFault if the backup is of another kind of database, which its first bytes show."""
    with file.open("rb") as opened_file:
        begins = opened_file.read(len(sqlite_file.MAGIC))
    of_sqlite = begins == sqlite_file.MAGIC
    if not of_sqlite and not begins.startswith(postgres_dumps.MAGIC):
        raise DatabaseFault(f"{file} is not a backup: neither an SQLite file nor a dump of pg_dump --format=custom")
    if of_sqlite != (sqlite_path(url) is not None):
        kind = "SQLite" if of_sqlite else "PostgreSQL"
        raise DatabaseFault(f"{file} is a backup of {kind}, but POSTERN_DATABASE_URL is {shown(url)}")


def _refuse_to_replace(url: str, *, force: bool) -> list[ServerProcess] | None:
    """End the command if a server runs on the database, or if it has records and --force is not given. Returns the
    registered server processes, None if the database is damaged."""
    try:
        with opened(url) as engine:
            seen = registered_servers(engine)
            servers = running_servers(engine)
            with engine.begin() as connection:
                empty = is_empty(connection)
    except DBAPIError:
        if not force or sqlite_path(url) is None:
            raise
        return None  # damaged: by --force the operator confirms that no server runs
    if servers:
        stop(f"servers run on {shown(url)}: {named(servers)}. Stop them first.")
    if not empty and not force:
        stop(f"{shown(url)} has records. With --force it is moved aside and replaced by the backup.", 2)
    return seen


def _restore_dump(file: Path, url: str, aside: str, *, force: bool) -> tuple[str, str]:
    """The schema with the old tables, "" if there were none, and the migration of the dump."""
    with err.status("Checking the dump …"):
        dump = postgres_dumps.look_at(file.absolute())
    seen = _refuse_to_replace(url, force=force) or []
    engine = open_engine(url, writing=True)
    try:
        with engine.begin() as connection:
            lock_tables(connection)  # a server that starts now waits until the dump is restored
            home = str(connection.execute(text("SELECT current_schema()")).scalar())
            _refuse_other_schema(file, dump.schema, home)
            schema = postgres_dumps.move_aside(
                connection, f"postern_{aside}", lambda: refuse_new_servers(seen, registered(connection))
            )
            with err.status("Restoring the dump …"):
                postgres_dumps.restore(connection, file.absolute(), dump)
        with err.status("Upgrading the tables to this program's migration …"):
            migrate(engine)
    finally:
        engine.dispose()
    return schema, dump.migration


def _refuse_other_schema(file: Path, schema: str, home: str) -> None:
    """Raise DatabaseFault if the tables of the dump are in another schema than this database's: it is restored
    there, where a server of this database does not find them."""
    if schema != home:
        raise DatabaseFault(
            f"{file} has its tables in the schema {schema}, but POSTERN_DATABASE_URL uses {home}: restore it to a "
            f"database URL with that schema, for example with options=-csearch_path%3D{schema}"
        )
