"""What each error of the databases means for what was being written, and what of it may be logged."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from postern.errors import DatabaseFault
from postern.journal.database.faults import Kind, Refused, cause_of, kind_of, never_works
from tests.table import table

ROW, REFUSED, AWAY = Kind.ROW, Kind.REFUSED, Kind.AWAY


@table(
    ("error", "kind"),
    [
        (errors.NotNullViolation(), ROW),
        (errors.UniqueViolation(), ROW),
        (errors.InvalidTextRepresentation(), ROW),
        (errors.UntranslatableCharacter(), ROW),
        (errors.ProgramLimitExceeded(), ROW),
        (errors.RaiseException(), ROW),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), ROW),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), ROW),
        (OverflowError("Python int too large to convert to SQLite INTEGER"), ROW),
        (LookupError("a bug"), ROW),
        (errors.InsufficientPrivilege(), REFUSED),
        (errors.UndefinedTable(), REFUSED),
        (errors.UndefinedColumn(), REFUSED),
        (errors.InvalidCatalogName(), REFUSED),
        (errors.FeatureNotSupported(), REFUSED),
        (errors.ReadOnlySqlTransaction(), REFUSED),
        (psycopg.ProgrammingError('invalid connection option "nonsense"'), REFUSED),
        (DatabaseFault("the database has the trigger x"), REFUSED),
        (Refused("moved"), REFUSED),
        (errors.AdminShutdown(), AWAY),
        (errors.DiskFull(), AWAY),
        (errors.IdleInTransactionSessionTimeout(), AWAY),
        (errors.LockNotAvailable(), AWAY),
        (errors.DeadlockDetected(), AWAY),
        (errors.TooManyConnections(), AWAY),
        (psycopg.OperationalError("connection refused"), AWAY),
        (psycopg.InterfaceError("the connection is closed"), AWAY),
    ],
    ids=lambda each: each.value if isinstance(each, Kind) else type(each).__name__,
)
def test_an_error_is_of_a_row_or_the_database_refuses_or_is_away(error, kind):
    assert kind_of(error) is kind
    assert cause_of(error).kind is kind


def sqlite_error(path: Path, *statements: str) -> sqlite3.Error:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute(statements[-1])
        return caught.value


@pytest.mark.parametrize(
    ("statements", "kind", "code"),
    [
        (["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)"], ROW, "SQLITE_CONSTRAINT_PRIMARYKEY"),
        (["INSERT INTO gone VALUES (1)"], REFUSED, "SQLITE_ERROR"),
        (["PRAGMA query_only=ON", "INSERT INTO t VALUES (1)"], REFUSED, "SQLITE_READONLY"),
        (["PRAGMA max_page_count=1", "CREATE TABLE u (a)"], AWAY, "SQLITE_FULL"),
    ],
)
def test_of_sqlite_its_own_codes_decide(statements, kind, code, tmp_path):
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    cause = cause_of(sqlite_error(path, *statements))
    assert (cause.kind, cause.code) == (kind, code)
    assert cause.text


def test_a_file_that_is_locked_is_away_and_one_that_is_no_database_never_works(tmp_path):
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        locked = sqlite_error(path, "BEGIN IMMEDIATE")
    assert (kind_of(locked), never_works(locked)) == (AWAY, "")
    path.write_bytes(b"no database " * 100)
    wrong = sqlite_error(path, "SELECT * FROM sqlite_master")
    assert (kind_of(wrong), never_works(wrong)) == (REFUSED, "file is not a database")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('invalid connection option "nonsense"\n', "nonsense is not an option of PostgreSQL's client"),
        ('connection is bad: invalid sslmode value: "private"', "invalid sslmode value"),
        ('connection is bad: invalid port number: "private"', "invalid port number"),
        ("bad value for connect_timeout: 'private'", "bad value for connect_timeout"),
        ('connection failed: connection to server at "h", port 1 failed: Connection refused', ""),
        ('connection failed: FATAL:  database "private" does not exist', ""),
    ],
)
def test_what_no_server_can_make_work_is_told_from_what_may_come_back(said, why):
    assert never_works(psycopg.OperationalError(said)) == why


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('connection to server at "private@h", port 1 failed: Connection refused', "Connection refused"),
        ("failed to resolve host 'private@h': [Errno -2] Name or service not known", "failed to resolve host"),
        ('FATAL:  password authentication failed for user "private"', "password authentication failed"),
        ('FATAL:  database "private" does not exist', "the database does not exist"),
        ('missing "=" after "private" in connection info string', ""),
    ],
)
def test_of_what_the_driver_says_of_connections_only_known_words_are_shown(said, shown):
    """A URL that was read wrongly may have a part of its password where a host is expected."""
    cause = cause_of(psycopg.OperationalError(said))
    assert cause.text == shown
    assert "private" not in str(cause.fields())


def test_values_of_rows_are_not_shown_and_names_of_tables_are(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE t (a TEXT PRIMARY KEY)")
        shown = {}
        for statement in (
            "INSERT INTO t VALUES ('private'), ('private')",
            "INSERT INTO t VALUES (('private'::integer)::text)",
            "SELECT * FROM gone",
        ):
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement)
            cause = cause_of(caught.value)
            shown[cause.code] = cause.text
            assert "private" not in str(cause.fields())
    assert shown == {"23505": "", "22P02": "", "42P01": 'relation "gone" does not exist'}
