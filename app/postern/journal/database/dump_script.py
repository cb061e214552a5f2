"""Reads the SQL that pg_restore makes of a dump. Whoever wrote the dump wrote this SQL, so none of it is ever executed:
it is read into the few forms that Postern's tables need, and anything else is refused by name. Pure.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from postern.errors import DatabaseFault
from postern.journal.metadata import condition_of
from postern.journal.schema import metadata

LONGEST_STATEMENT = 100_000
_SHOWN = 100

_NAME = r"[a-z_][a-z0-9_]*"
_SCHEMA = rf'(?:{_NAME}|"[\w .-]{{1,63}}")'
"""A schema may have a name that pg_dump quotes: with capital letters, hyphens or spaces."""
_NAMES = rf"{_NAME}(?:, {_NAME})*"
_TYPE = (
    r"(?:text|integer|bigint|smallint|boolean|double precision|real|bytea|json|jsonb|uuid|timestamp with time zone"
    r"|character varying\(\d+\))"
)
_COLUMN = rf"({_NAME}) ({_TYPE})( NOT NULL)?"
_COLUMNS = re.compile(_COLUMN)
_ENCODING = re.compile(r"SET client_encoding = '(\w+)'", re.ASCII)
_SETTING = re.compile(
    rf"SET {_NAME} = (?:\w+|'\w*')|SELECT pg_catalog\.set_config\('search_path', '', false\)", re.ASCII
)
_TABLE = re.compile(rf"CREATE TABLE ({_SCHEMA})\.({_NAME}) \( ({_COLUMN}(?:, {_COLUMN})*) \)")
_KEY = re.compile(rf"ALTER TABLE ONLY ({_SCHEMA})\.({_NAME}) ADD CONSTRAINT ({_NAME}) PRIMARY KEY \(({_NAMES})\)")
_INDEX = re.compile(rf"CREATE INDEX ({_NAME}) ON ({_SCHEMA})\.({_NAME}) USING btree \(({_NAMES})\)(?: WHERE \((.+)\))?")
_COPY = re.compile(rf"COPY ({_SCHEMA})\.({_NAME}) \(({_NAMES})\) FROM stdin")
_END_OF_DATA = b"\\."


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of the rows."""

    name: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain columns: name, type and whether NULL is allowed."""

    schema: str
    name: str
    columns: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key."""

    schema: str
    table: str
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """An index of columns, with the condition of one of Postern's own indexes, or none."""

    schema: str
    table: str
    name: str
    columns: tuple[str, ...]
    condition: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What follows are rows of a table, in the text form of COPY."""

    schema: str
    table: str
    columns: tuple[str, ...]


Piece = Encoding | Table | Key | Index | Rows


def pieces(lines: Iterable[bytes]) -> Iterator[Piece | bytes]:
    """The parts of a script in their order; after Rows, each row as it is. Raises DatabaseFault that names the first
    statement that is not a part of Postern's tables."""
    statement = ""
    rows = False
    for line in lines:
        if rows:
            if rows := line.rstrip(b"\r\n") != _END_OF_DATA:
                yield line
            continue
        text = line.decode("utf-8", "replace").strip()
        if not statement and (not text or text.startswith(("--", "\\restrict ", "\\unrestrict "))):
            continue
        statement = f"{statement} {text}".lstrip()
        if len(statement) > LONGEST_STATEMENT:
            raise DatabaseFault(f"a statement of more than {LONGEST_STATEMENT} characters: {statement[:_SHOWN]} …")
        if text.endswith(";"):
            piece = _piece(" ".join(statement.removesuffix(";").split()))
            statement = ""
            rows = isinstance(piece, Rows)
            if piece is not None:
                yield piece
    if statement:
        raise DatabaseFault(f"an unfinished statement: {statement[:_SHOWN]}")


def foreign(found: Iterable[Piece], *, newer: bool) -> list[str]:
    """What is not Postern's, by kind and name: tables, columns and indexes. Those of a `newer` Postern are accepted."""
    own = {name: {column.name for column in table.columns} for name, table in metadata.tables.items()}
    own["alembic_version"] = {"version_num"}
    tables = {piece.name for piece in found if isinstance(piece, Table)}
    names: list[str] = []
    for piece in found:
        match piece:
            case Table(_, name, columns) if not newer:
                names += [] if name in own else [f"the table {name}"]
                names += [f"the column {name}.{each}" for each, *_ in columns if each not in own.get(name, {each})]
            case Index(_, _, name, _, condition) if (condition and condition != _conditions().get(name)) or not (
                newer or name in _conditions()
            ):
                names.append(f"the index {name}")
            case Rows(_, table, _) if table not in tables:  # they would go to a table that is there
                names.append(f"rows of {table}")
    return names


def _piece(statement: str) -> Piece | None:
    """The part of a statement; None for a setting of the session, which has no effect here."""
    if found := _ENCODING.fullmatch(statement):
        return Encoding(found[1])
    if _SETTING.fullmatch(statement):
        return None
    if found := _TABLE.fullmatch(statement):
        columns = tuple((name, kind, not required) for name, kind, required in _COLUMNS.findall(found[3]))
        return Table(_bare(found[1]), found[2], columns)
    if found := _KEY.fullmatch(statement):
        return Key(_bare(found[1]), found[2], found[3], _split(found[4]))
    if found := _INDEX.fullmatch(statement):
        return Index(_bare(found[2]), found[3], found[1], _split(found[4]), (found[5] or "").replace("::text", ""))
    if found := _COPY.fullmatch(statement):
        return Rows(_bare(found[1]), found[2], _split(found[3]))
    raise DatabaseFault(f"what is not of Postern's tables: {statement[:_SHOWN]}")


def _bare(schema: str) -> str:
    return schema.strip('"')


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split(", "))


def _conditions() -> dict[str, str]:
    """Postern's indexes, with their conditions."""
    return {str(index.name): condition_of(index) or "" for table in metadata.tables.values() for index in table.indexes}
