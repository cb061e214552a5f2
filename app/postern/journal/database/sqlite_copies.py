"""Copies of a SQLite database: making one while servers write, checking it, and replacing a database with it.

A copy is a single file. SQLite's backup API makes it within one read transaction. So it is the database of one moment,
writers do not wait, and their writes do not restart it.
"""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from postern.errors import DatabaseFault
from postern.journal.database.contents import RECORDS
from postern.journal.database.engine import check_revision, migrate, open_engine
from postern.journal.database.foreign import distrust, entries_of, foreign, running
from postern.journal.database.revisions import is_newer
from postern.journal.database.sqlite_file import BESIDE
from postern.journal.restored import settle
from postern.own_folder import make_folder, names_of_database

PAGES = 1024
"""Pages that are copied between two reports of progress."""

Progress = Callable[[int, int], object]
"""Called with the number of remaining pages, and of all pages."""


def copy(source: Path, target: Path, progress: Progress = lambda *_: None) -> None:
    """Write a copy to `target`, an empty file that this program created. Raises sqlite3.Error, OSError."""
    with closing(_open(source, "rw")) as reading, closing(sqlite3.connect(target, isolation_level=None)) as writing:
        reading.execute("PRAGMA query_only=ON")
        reading.execute("BEGIN")
        reading.execute(
            "SELECT count(*) FROM sqlite_master"
        ).fetchone()  # from here on it reads the database of this moment
        reading.backup(writing, pages=PAGES, progress=lambda _, left, total: progress(left, total))
        writing.execute("PRAGMA journal_mode=DELETE")  # so that it can be read in a read-only folder
    with target.open("rb") as file:
        os.fsync(file.fileno())


def look_at(path: Path) -> str:
    """The migration of an intact copy. Raises DatabaseFault if it is damaged, not a database of Postern, or of a newer
    Postern that is not compatible."""
    _refuse_journal(path)
    try:
        with closing(_open(path, "ro")) as connection:
            _refuse_foreign(path, connection)
            damage = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if damage != ["ok"]:
                raise DatabaseFault(f"{path} is damaged: {'; '.join(damage)[:300]}")
            found = _migration(connection)
            there = {each.name for each in entries_of(connection) if each.kind == "table"}
    except sqlite3.OperationalError as error:
        raise DatabaseFault(f"{path} is not a backup of Postern: {error}") from None
    except sqlite3.DatabaseError as error:
        raise DatabaseFault(f"{path} is damaged, or not a database: {error}") from None
    if not found:
        raise DatabaseFault(f"{path} is not a backup of Postern: it has no migration")
    if not there.issuperset(table.name for table in RECORDS):
        raise DatabaseFault(f"{path} is not a backup of Postern: it has other tables")
    return found


def _refuse_foreign(path: Path, connection: sqlite3.Connection) -> None:
    """Raise DatabaseFault if the file holds anything but Postern's schema. Nothing of it has run by then."""
    entries = list(entries_of(connection))
    found = running(entries)
    if not found and (migration := _migration(connection)):
        _check(path, migration)
        found = foreign(entries, newer=is_newer(migration))
    if found:
        raise DatabaseFault(
            f"{path} is not a backup of Postern alone: it has {', '.join(sorted(found)[:10])}. Drop that in a copy of "
            "the file, if it is yours"
        )


def _refuse_journal(path: Path) -> None:
    """Raise DatabaseFault if an unfinished transaction lies beside a backup: SQLite would finish it, and delete the
    file that it names."""
    journal = beside(path.resolve())[2]
    if journal.exists():
        raise DatabaseFault(
            f"{journal} lies beside the backup, which is a single file: move it away, if the backup is whole without it"
        )


def _migration(connection: sqlite3.Connection) -> str | None:
    found: str | None = next((row[0] for row in connection.execute("SELECT version_num FROM alembic_version")), None)
    return found


def put_in_place(copied: Path, database: Path, aside: str, ready: Callable[[], object] = lambda: None) -> Path | None:
    """Replace a database with a copy, whose tables are first migrated to this program's migration, and without
    what has ended since (`restored.py`). The old database is moved aside under a name that ends with `aside`; returns
    that name. No server may run on it: `ready` is called when the copy is ready, and raises if one has started
    meanwhile."""
    _refuse_journal(copied)
    moved = database.with_name(f"{database.name}{aside}")
    make_folder(database.parent, names_of_database(database))
    with new_file(database) as file:
        copy(copied, file)
        with closing(_open(file, "ro")) as connection:  # what will be used, whatever the file has become meanwhile
            _refuse_foreign(copied, connection)
        engine = open_engine(URL.create("sqlite", database=str(file)), writing=True)
        try:
            migrate(engine)
            with engine.begin() as connection:
                settle(connection)
        finally:
            engine.dispose()
        _give_to_its_owner(file, database)
        ready()
        try:
            there = _rename(database, moved)
            file.replace(database)
        except BaseException:
            _rename(moved, database)
            raise
    return moved if there else None


def beside(database: Path) -> tuple[Path, ...]:
    """The files that SQLite creates beside a database."""
    return tuple(database.with_name(database.name + end) for end in BESIDE)


def _rename(database: Path, name: Path) -> bool:
    """Rename a database with the files that SQLite created beside it; False if there is none."""
    there = database.exists()
    if there:
        database.rename(name)
    for old, new in zip(beside(database), beside(name), strict=True):
        if old.exists():
            old.rename(new)
    return there


def _give_to_its_owner(file: Path, database: Path) -> None:
    """Keep the database accessible to the server's user after a restore as root."""
    if os.geteuid() == 0:
        owner = (database if database.exists() else database.parent).stat()
        os.chown(file, owner.st_uid, owner.st_gid)


@contextmanager
def new_file(place: Path) -> Iterator[Path]:
    """An empty file for its owner only, beside `place`, to be renamed to it. If it was not renamed it is deleted at the
    end. The folder is synced to disk by then."""
    handle, name = tempfile.mkstemp(prefix=f".{place.name}-", suffix=".partial", dir=place.parent)
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        for made in (path, *beside(path)):
            made.unlink(missing_ok=True)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check(path: Path, found: str) -> None:
    try:
        check_revision(found)
    except DatabaseFault as fault:
        raise DatabaseFault(f"{path}: {fault}") from None


def _open(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30)
    distrust(connection)
    connection.execute("PRAGMA cell_size_check=ON")
    return connection
