"""What an error of the database means for what was being written, and what the log may say of it. Pure.

SQLSTATEs and SQLite's own texts contain neither passwords nor recorded data. Of PostgreSQL's messages only those about
names and rights are shown, and of those about connections only known words: a URL that was read wrongly may have a part
of its password where the name of the host is expected.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from postern.errors import DatabaseFault

_OF_ROWS = ("21", "22", "23", "44", "54", "P0")
"""Classes of SQLSTATE for what a row contains: data, constraints, limits of size, and triggers that reject it."""
_SHOWN = ("08", "0A", "25", "28", "3D", "3F", "42", "53", "55", "57", "58")
"""Classes whose messages name tables, roles and databases, and no values."""
_SQLITE_OF_ROWS = frozenset({18, 19, 20, 25})  # TOOBIG, CONSTRAINT, MISMATCH, RANGE
_STOOD_STILL = "25P03"
"""This process stood still in a transaction (idle_in_transaction_session_timeout): the next session does it again."""
_SQLITE_AWAY = frozenset({5, 6, 7, 9, 10, 13, 15, 17})  # BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, PROTOCOL, SCHEMA
_SQLITE_NEVER = frozenset({3, 8, 11, 14, 26})  # PERM, READONLY, CORRUPT, CANTOPEN, NOTADB
_CLIENT_SIDE = re.compile(
    r"(?:connection is bad: )?(invalid (?:connection option|port number|integer value|\w+ value)\b|bad value for \w+)"
)
"""What the driver says of a URL that no server can make work, and of it what has no value."""
_OF_CONNECTIONS = (
    *("Connection refused", "timeout expired", "failed to resolve host", "No route to host", "Network is unreachable"),
    *("No such file or directory", "Permission denied", "password authentication failed", "no password supplied"),
    *("no pg_hba.conf entry", "too many clients", "remaining connection slots", "the database system is starting up"),
    *("the database system is shutting down", "in recovery mode", "certificate verify failed", "not support SSL"),
    *("server closed the connection", "terminating connection", "role", "database"),
)
_GRANT = "grant the role of the server SELECT, INSERT, UPDATE and DELETE on Postern's tables"
_TABLES = (
    "the tables are not Postern's any more: put them back, or restore a backup. New ones: postern database upgrade"
)
_RESTORE = "stop the servers and restore a backup: postern database restore FILE --force"
_ADVICE = {
    **dict.fromkeys(("42501",), _GRANT),
    **dict.fromkeys(("42P01", "42703", "3F000", "SQLITE_ERROR"), _TABLES),
    **dict.fromkeys(("SQLITE_CORRUPT", "SQLITE_NOTADB"), _RESTORE),
    **dict.fromkeys(("53100", "SQLITE_FULL"), "free space on the disk of the database"),
    **dict.fromkeys(
        ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"), "let this user write the file and its folder"
    ),
    "25006": "the database is a replica or read-only: name the primary in POSTERN_DATABASE_URL",
}


class Kind(StrEnum):
    """What to do about an error."""

    ROW = "row"
    """What the row contains, or a bug: other rows can be written."""
    REFUSED = "refused"
    """The database answers and refuses what is right: nothing can be recorded until an operator has corrected it."""
    AWAY = "away"
    """The database is unavailable, locked or full, which may pass by itself."""


class Refused(Exception):
    """The database refuses every row, or is no longer the one that was opened. The message is for the log."""


@dataclass(frozen=True, slots=True)
class Cause:
    """An error for the log. `code` is an SQLSTATE, or SQLite's name of the error; "" where there is none."""

    kind: Kind
    error: str
    code: str = ""
    text: str = ""
    advice: str = ""

    def fields(self) -> dict[str, str]:
        """The fields of a log line, without the empty ones."""
        named = {"error": self.error, "code": self.code, "cause": self.text, "advice": self.advice}
        return {name: value for name, value in named.items() if value}

    def __str__(self) -> str:
        """In one line."""
        return ", ".join(filter(None, (self.error, self.code, self.text)))


def cause_of(error: BaseException) -> Cause:
    """The meaning of an error, of SQLAlchemy's or the driver's own."""
    origin: BaseException = getattr(error, "orig", None) or error
    code = _code(origin)
    general = "_".join(code.split("_")[:2]) if code.startswith("SQLITE") else code
    advice = getattr(origin, "advice", "") or _ADVICE.get(general, "")
    return Cause(kind_of(origin), type(origin).__name__, code, _text(origin), advice)


def kind_of(error: BaseException) -> Kind:
    """What to do about it. The drivers' errors have the names that PEP 249 gives them."""
    error = getattr(error, "orig", None) or error
    if isinstance(error, Refused | DatabaseFault):
        return Kind.REFUSED
    names = {kind.__name__ for kind in type(error).__mro__}
    if names.isdisjoint(("DatabaseError", "InterfaceError")):
        return Kind.ROW
    if _is_sqlite(error):
        return _kind_of_sqlite(error)
    state = getattr(error, "sqlstate", None) or ""
    if state == _STOOD_STILL:
        return Kind.AWAY
    if state.startswith(_OF_ROWS) or (not state and "DataError" in names):
        return Kind.ROW
    if not names.isdisjoint(("ProgrammingError", "NotSupportedError")) or state.startswith(("25", "28")):
        return Kind.REFUSED
    return Kind.AWAY


def never_works(error: BaseException) -> str:
    """Why a database can never be used unless an operator changes something here; "" if waiting may help."""
    error = getattr(error, "orig", None) or error
    if _is_sqlite(error):
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_NEVER else ""
    found = _CLIENT_SIDE.match(str(error))
    option = re.fullmatch(r'invalid connection option "(\w+)"\s*', str(error))
    return f"{option[1]} is not an option of PostgreSQL's client" if option else found[1] if found else ""


def _kind_of_sqlite(error: BaseException) -> Kind:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF in _SQLITE_OF_ROWS:  # the driver itself: a value that it cannot hand over
        return Kind.ROW
    return Kind.AWAY if code & 0xFF in _SQLITE_AWAY else Kind.REFUSED


def _is_sqlite(error: BaseException) -> bool:
    return any(kind.__module__ == "sqlite3" for kind in type(error).__mro__)


def _code(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None) or "")


def _text(error: BaseException) -> str:
    if isinstance(error, Refused | DatabaseFault) or _is_sqlite(error):
        return str(error)
    state = getattr(error, "sqlstate", None) or ""
    if state:
        return str(error.diag.message_primary or "") if state.startswith(_SHOWN) and hasattr(error, "diag") else ""
    if why := never_works(error):
        return why
    said = str(error)
    if found := re.search(r'(role|database) "[^"]*" (does not exist)', said):
        return f"the {found[1]} {found[2]}"
    return next((words for words in _OF_CONNECTIONS[:-2] if words in said), "")
