"""Backups of checkpoints and their restore: rows of the few tables that are used, in a file beside that of the journal.

The journal is copied first, so no checkpoint of a run in it is missing. Whoever wrote a backup wrote its schema too: a
restore uses nothing of that. DBOS makes its tables anew, and the rows go into them.
"""

import asyncio
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import text

from postern import own_folder
from postern.durable.checkpoints_database import checkpoints_file
from postern.errors import DatabaseFault
from postern.journal.database import postgres_dumps, sqlite_copies
from postern.journal.database.engine import open_engine
from postern.journal.database.foreign import distrust

SCHEMA = "dbos"
NAMES = ("workflow_status", "workflow_input", "workflow_output", "operation_outputs")
TABLES = tuple(f"{SCHEMA}.{name}" for name in NAMES)


def beside(file: Path) -> Path:
    """The file with the checkpoints, beside the backup of a journal."""
    return own_folder.beside(file, "durable")


def exist(url: str) -> bool:
    """Whether the database has checkpoints."""
    path = checkpoints_file(url)
    if path is not None:
        return path.exists()
    engine = open_engine(url, writing=False)
    try:
        with engine.connect() as connection:
            return bool(connection.execute(text(f"SELECT to_regclass('{TABLES[0]}') IS NOT NULL")).scalar())
    finally:
        engine.dispose()


def back_up(url: str, target: Path, named: Path) -> None:
    """Write a backup to an empty file, which will be renamed to `named`, and check it to its end. Raises
    DatabaseFault, sqlite3.Error, OSError."""
    path = checkpoints_file(url)
    if path is None:
        postgres_dumps.dump_rows(url, target, named, TABLES)
    else:
        sqlite_copies.copy(path, target)
    check(url, target)


def check(url: str, file: Path) -> None:
    """Raise DatabaseFault if a backup is damaged, or not one of checkpoints."""
    if checkpoints_file(url) is None:
        postgres_dumps.check_rows(file, TABLES)
        return
    try:
        with closing(_open(file)) as connection:
            damage = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if damage != ["ok"]:
                raise DatabaseFault(f"{file} is damaged: {'; '.join(damage)[:300]}")
            for name in NAMES:
                _columns(connection, name, file)
    except sqlite3.DatabaseError as error:
        raise DatabaseFault(f"{file} is not a backup of checkpoints: {error}") from None


def restore(url: str, file: Path | None, aside: str) -> str:
    """Replace the checkpoints by a backup, or by none. The old ones are moved aside under a name with `aside`, which is
    returned; "" if there were none. No server may run. Raises DatabaseFault."""
    if file is not None and find_spec("dbos") is None:
        raise DatabaseFault(f"{file} has checkpoints, which need the package dbos: install postern-workflows[durable]")
    path = checkpoints_file(url)
    return _restore_schema(url, file, aside) if path is None else _restore_file(path, file, aside)


def _restore_file(path: Path, file: Path | None, aside: str) -> str:
    moved = path.with_name(f"{path.name}.{aside}")
    if file is None:
        return _move(path, moved)
    with sqlite_copies.new_file(path) as made:
        journal = made.with_name(f"{made.name}.db")  # DBOS makes its file beside one of this name
        fresh = checkpoints_file(f"sqlite:///{journal}") or made
        try:
            _make_tables(f"sqlite:///{journal}")
            with closing(_open(file)) as source, closing(sqlite3.connect(fresh)) as target:
                for name in NAMES:
                    _copy_rows(source, target, name, file)
                target.commit()
                target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                target.execute("PRAGMA journal_mode=DELETE")
            fresh.replace(made)
        finally:
            for left in (fresh, *sqlite_copies.beside(fresh)):
                left.unlink(missing_ok=True)
        there = _move(path, moved)
        made.replace(path)
    return there


def _restore_schema(url: str, file: Path | None, aside: str) -> str:
    engine = open_engine(url, writing=True)
    try:
        with engine.begin() as connection:
            there = connection.execute(text(f"SELECT to_regnamespace('{SCHEMA}') IS NOT NULL")).scalar()
            moved = f"{SCHEMA}_{aside}" if there else ""
            if there:
                connection.execute(text(f'ALTER SCHEMA {SCHEMA} RENAME TO "{moved}"'))
        if file is not None:
            _make_tables(url)
            with engine.begin() as connection:
                postgres_dumps.restore_rows(connection, file, TABLES)
    finally:
        engine.dispose()
    return moved


def _make_tables(url: str) -> None:
    """Let DBOS make its tables."""
    from postern.durable.checkpoints import Checkpoints
    from postern.durable.dbos_engine import DbosEngine

    async def nothing(run_id: str, checkpoints: Checkpoints) -> bool:
        return False

    async def make() -> None:
        engine = DbosEngine(url, "restore", nothing)
        await engine.start()
        await engine.stop()

    asyncio.run(make())


def _move(path: Path, name: Path) -> str:
    if not path.exists():
        return ""
    for old, new in zip((path, *sqlite_copies.beside(path)), (name, *sqlite_copies.beside(name)), strict=True):
        if old.exists():
            old.rename(new)
    return str(name)


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection, name: str, file: Path) -> None:
    columns = _columns(source, name, file)
    known = {row[1] for row in target.execute(f'PRAGMA table_info("{name}")')}
    if not known.issuperset(columns):
        raise DatabaseFault(f"{file} is of a newer Postern: restore it with that release")
    names, marks = ", ".join(f'"{each}"' for each in columns), ", ".join("?" * len(columns))
    rows = source.execute(f'SELECT {names} FROM "{name}"')  # noqa: S608 checked names
    target.executemany(f'INSERT INTO "{name}" ({names}) VALUES ({marks})', rows)  # noqa: S608 the same


def _columns(connection: sqlite3.Connection, name: str, file: Path) -> list[str]:
    """The columns of an ordinary table. Raises DatabaseFault if it is none, or has others than plain names."""
    made = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    if made is None or not str(made[0]).startswith("CREATE TABLE"):
        raise DatabaseFault(f"{file} is not a backup of checkpoints: it has no table {name}")
    found = list(connection.execute(f'PRAGMA table_xinfo("{name}")'))
    if any(row[6] or not str(row[1]).isidentifier() for row in found):
        raise DatabaseFault(f"{file} is not a backup of checkpoints: the table {name} has computed columns")
    return [str(row[1]) for row in found]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    distrust(connection)
    connection.execute("PRAGMA cell_size_check=ON")
    return connection
