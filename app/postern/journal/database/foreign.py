"""What a SQLite file holds besides Postern's tables, and what in them would run code: triggers, views, expressions.

Whoever wrote the file wrote its schema too. Source: sqlite.org/security.html, "Untrusted SQLite Database Files". Pure,
except for the readings at the end.
"""

import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from postern.errors import DatabaseFault
from postern.journal.metadata import condition_of
from postern.journal.schema import metadata

TABLES = frozenset({*metadata.tables, "alembic_version"})

_NAME = r'(?:"\w+"|\w+)'
_NAMES = rf"\( ?{_NAME}(?: ?, ?{_NAME})* ?\)"
_TYPE = r"(?:TEXT|INTEGER|BIGINT|SMALLINT|BOOLEAN|DOUBLE|DOUBLE PRECISION|FLOAT|REAL|BLOB|JSON|VARCHAR ?\( ?\d+ ?\))"
_COLUMN = rf"(?P<column>{_NAME}) {_TYPE}(?: NOT NULL)?"
_KEY = rf"CONSTRAINT {_NAME} PRIMARY KEY ?{_NAMES}"
_TABLE = re.compile(rf"CREATE TABLE (?P<name>{_NAME}) ?\( ?(?P<parts>.*?) ?\)", re.IGNORECASE | re.ASCII)
_PART = re.compile(rf"(?:{_KEY}|{_COLUMN})(?: ?, ?|$)", re.IGNORECASE | re.ASCII)
_INDEX = re.compile(
    rf"CREATE INDEX (?P<name>{_NAME}) ON (?P<table>{_NAME}) ?{_NAMES}(?: WHERE (?P<where>.+))?",
    re.IGNORECASE | re.ASCII,
)
_STATISTICS = re.compile(r"sqlite_(?:stat[1-4]|sequence)")


class Entry(NamedTuple):
    """A row of `sqlite_master`. `sql` is "" for the index of a primary key."""

    kind: str
    name: str
    table: str
    sql: str


def foreign(entries: Iterable[Entry], *, newer: bool) -> list[str]:
    """What is not Postern's schema, by kind and name. In the tables of a `newer` Postern, unknown tables, columns and
    indexes are accepted if they are plain."""
    return [f"the {each.kind} {each.name}" for each in entries if not _is_ours(each, newer=newer)]


def running(entries: Iterable[Entry]) -> list[str]:
    """What would run, or stand for something else, when Postern uses its tables."""
    return [
        f"the {each.kind} {each.name}"
        for each in entries
        if (each.kind == "trigger" and each.table.lower() in TABLES)
        or (each.name.lower() in TABLES and (each.kind != "table" or columns_of(each.sql) is None))
    ]


def columns_of(sql: str) -> list[str] | None:
    """The columns of a table that has nothing but columns and a primary key. None if it has anything else, such as
    defaults, checks or generated columns."""
    found = _TABLE.fullmatch(_collapsed(sql))
    if found is None:
        return None
    columns, parts, at = [], found["parts"], 0
    while at < len(parts):
        part = _PART.match(parts, at)
        if part is None:
            return None
        if part["column"]:
            columns.append(part["column"].strip('"'))
        at = part.end()
    return columns


def _is_ours(entry: Entry, *, newer: bool) -> bool:
    if entry.kind == "table":
        if _STATISTICS.fullmatch(entry.name):
            return True
        columns = columns_of(entry.sql)
        if columns is None:
            return False
        known = [column.name for column in metadata.tables[entry.name].columns] if entry.name in metadata.tables else []
        return newer or (entry.name in TABLES and {*columns} <= {*known, "version_num"})
    if entry.kind != "index":
        return False
    if not entry.sql:  # of a primary key
        return newer or entry.table in TABLES
    found = _INDEX.fullmatch(_collapsed(entry.sql))
    condition = _conditions().get(entry.name)
    if found is None or (found["where"] or None) != condition:
        return False
    return newer or entry.name in _conditions()


def _conditions() -> dict[str, str | None]:
    """Postern's indexes, with their conditions."""
    return {str(index.name): condition_of(index) for table in metadata.tables.values() for index in table.indexes}


def _collapsed(sql: str) -> str:
    return " ".join(sql.split())


def entries_of(connection: sqlite3.Connection) -> Iterator[Entry]:
    """The file's schema. Nothing of it runs when it is read."""
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        yield Entry(str(kind), str(name), str(table), str(sql or ""))


def distrust(connection: sqlite3.Connection) -> None:
    """Let nothing in the file's schema call functions with effects, and nothing change the schema as data."""
    connection.execute("PRAGMA trusted_schema=OFF")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)


def refuse_running(connection: sqlite3.Connection) -> None:
    """Raise DatabaseFault if something in the file would run when Postern uses its tables."""
    if found := running(entries_of(connection)):
        raise DatabaseFault(
            f"the database has {', '.join(sorted(found)[:10])}, which is not Postern's and would run with its tables: "
            "drop it, or restore a backup"
        )
