"""Copies of a SQLite database: one is made while servers write, looked at, and put in a database's place.

A copy is one file with nothing beside it. It is made by SQLite's backup API from within one read transaction, so that
it is the database of one moment, and writers neither wait nor make it begin again.
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

MAGIC = b"SQLite format 3\x00"
PAGES = 1024
"""Pages that are copied between two reports of progress."""
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a file. A log of one database must never lie beside another one."""

Progress = Callable[[int, int], object]
"""Told how many pages are left, and of how many."""


def copy(source: Path, target: Path, progress: Progress = lambda *_: None) -> None:
    """Write a copy to `target`, an empty file of ours. Raises sqlite3.Error, OSError."""
    with closing(_open(source, "rw")) as reading, closing(sqlite3.connect(target, isolation_level=None)) as writing:
        reading.execute("PRAGMA query_only=ON")
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it reads this moment's database
        reading.backup(writing, pages=PAGES, progress=lambda _, left, total: progress(left, total))
        writing.execute("PRAGMA journal_mode=DELETE")  # so that it can be read where nothing can be written
    with target.open("rb") as file:
        os.fsync(file.fileno())


def look_at(path: Path) -> str:
    """The migration of a copy that is whole. Raises DatabaseFault where it is damaged, no database of Postern's, or of
    a newer Postern that does not suit this one."""
    try:
        with closing(_open(path, "ro")) as connection:
            damage = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if damage != ["ok"]:
                raise DatabaseFault(f"{path} is damaged: {'; '.join(damage)[:300]}")
            query = "SELECT version_num FROM alembic_version"
            found: str | None = next((row[0] for row in connection.execute(query)), None)
            there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        raise DatabaseFault(f"{path} is no backup of Postern's: {error}") from None
    except sqlite3.DatabaseError as error:
        raise DatabaseFault(f"{path} is damaged, or no database: {error}") from None
    if not found:
        raise DatabaseFault(f"{path} is no backup of Postern's: it has no migration")
    if not there.issuperset(table.name for table in RECORDS):
        raise DatabaseFault(f"{path} is no backup of Postern's: it has other tables")
    _check(path, found)
    return found


def put_in_place(copied: Path, database: Path, aside: str, ready: Callable[[], object] = lambda: None) -> Path | None:
    """Put a copy in a database's place, its tables brought to this program's migration before. What was there is moved
    aside under a name that ends with `aside`; gives that name. No server may run on it: `ready` is called when the copy
    is, and raises where one has started meanwhile."""
    moved = database.with_name(f"{database.name}{aside}")
    database.parent.mkdir(parents=True, exist_ok=True)
    with new_file(database) as file:
        copy(copied, file)
        engine = open_engine(URL.create("sqlite", database=str(file)), writing=True)
        try:
            migrate(engine)
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
    """The files that SQLite puts beside a database."""
    return tuple(database.with_name(database.name + end) for end in BESIDE)


def _rename(database: Path, name: Path) -> bool:
    """Give a database another name, with what SQLite put beside it; False where there is none."""
    there = database.exists()
    if there:
        database.rename(name)
    for old, new in zip(beside(database), beside(name), strict=True):
        if old.exists():
            old.rename(new)
    return there


def _give_to_its_owner(file: Path, database: Path) -> None:
    """Who restores as root must not keep the server's user out."""
    if os.geteuid() == 0:
        owner = (database if database.exists() else database.parent).stat()
        os.chown(file, owner.st_uid, owner.st_gid)


@contextmanager
def new_file(place: Path) -> Iterator[Path]:
    """An empty file for its owner only, beside `place`, which is to take its name. What is left of it goes at the end;
    the folder is on disk by then."""
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
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30)
