"""What a SQLite file may hold besides Postern's tables: nothing that runs, and in a backup nothing at all."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from postern.errors import DatabaseFault
from postern.journal.database import sqlite_copies
from postern.journal.database.engine import check_database, open_engine
from postern.journal.database.foreign import columns_of, distrust, entries_of, foreign, running
from postern.journal.database.revisions import HEAD
from tests.databases import put_sqlite
from tests.releases import files_of_migrations, make_newer
from tests.table import table

pytestmark = pytest.mark.slow

ALTERED = "CREATE TABLE {} (run_id TEXT NOT NULL, number INTEGER NOT NULL, {})"
HOSTILE = {
    "trigger": ("the trigger t", "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM refusals; END"),
    "trigger on a copy": ("the trigger t", "CREATE TRIGGER t INSTEAD OF INSERT ON v BEGIN DELETE FROM runs; END"),
    "view in place of a table": ("the view steps", "CREATE VIEW steps AS SELECT 1 AS run_id"),
    "virtual table in place": ("the table steps", "CREATE VIRTUAL TABLE steps USING fts5(run_id)"),
    "generated column": ("the table steps", ALTERED.format("steps", "name TEXT AS (upper(run_id))")),
    "check": ("the table steps", ALTERED.format("steps", "name TEXT CHECK (length(name) > 1)")),
    "default": ("the table steps", ALTERED.format("steps", "name TEXT DEFAULT (randomblob(9))")),
    "key elsewhere": ("the table steps", ALTERED.format("steps", "name TEXT REFERENCES runs ON DELETE CASCADE")),
}
FOREIGN = {
    "view": ("the view v", "CREATE VIEW v AS SELECT * FROM runs"),
    "table": ("the table other", "CREATE TABLE other (id TEXT)"),
    "virtual table": ("the table found", "CREATE VIRTUAL TABLE found USING fts5(id)"),
    "index": ("the index mine", "CREATE INDEX mine ON runs (state)"),
    "index on an expression": ("the index mine", "CREATE INDEX mine ON runs (abs(status))"),
    "unique index": ("the index mine", "CREATE UNIQUE INDEX mine ON runs (id, state)"),
    "partial index": ("the index mine", "CREATE INDEX mine ON runs (id) WHERE length(inputs) > 9"),
    "another condition": (
        "the index runs_by_state",
        "CREATE INDEX runs_by_state ON runs (state) WHERE abs(status) > 1",
    ),
    "column": ("the table calls", "ALTER TABLE calls ADD COLUMN more TEXT"),
    "column that is computed": ("the table calls", "ALTER TABLE calls ADD COLUMN more TEXT AS (lower(name))"),
}


def spoiled(path: Path, statement: str) -> str:
    """The URL of a database with something in it that is not Postern's."""
    url = put_sqlite(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        if " ON v " in statement:
            connection.execute("CREATE VIEW v AS SELECT * FROM runs")
        for kind in ("TABLE", "VIEW"):
            if f"{kind} steps " in statement:
                connection.execute("DROP TABLE steps")
        if "runs_by_state" in statement:
            connection.execute("DROP INDEX runs_by_state")
        connection.execute(statement)
    return url


@pytest.mark.parametrize(("named", "statement"), (HOSTILE | FOREIGN).values(), ids=HOSTILE | FOREIGN)
def test_a_backup_with_anything_foreign_is_refused_by_name(tmp_path: Path, named: str, statement: str):
    """Before its contents are checked, and again when it was copied."""
    spoiled(tmp_path / "copy", statement)
    put_sqlite(tmp_path / "postern.db")
    before = (tmp_path / "postern.db").read_bytes()
    with pytest.raises(DatabaseFault, match=named):
        sqlite_copies.look_at(tmp_path / "copy")
    with pytest.raises(DatabaseFault, match=named):
        sqlite_copies.put_in_place(tmp_path / "copy", tmp_path / "postern.db", ".old")
    assert (tmp_path / "postern.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*.db*")) == ["postern.db"]


def test_a_journal_beside_a_backup_is_not_played(tmp_path: Path):
    """It could name any file, which SQLite would delete."""
    put_sqlite(tmp_path / "copy")
    (tmp_path / "copy-journal").write_bytes(b"any")
    for use in (sqlite_copies.look_at, lambda path: sqlite_copies.put_in_place(path, tmp_path / "postern.db", ".old")):
        with pytest.raises(DatabaseFault, match="copy-journal lies beside the backup"):
            use(tmp_path / "copy")
    assert (tmp_path / "copy-journal").read_bytes() == b"any"


@pytest.mark.parametrize(
    ("named", "statement"),
    [each for name, each in HOSTILE.items() if name != "trigger on a copy"],
    ids=[name for name in HOSTILE if name != "trigger on a copy"],
)
def test_a_server_uses_no_file_whose_schema_runs_with_its_tables(tmp_path: Path, named: str, statement: str):
    """Whoever opens it: the check before the start, and every connection."""
    url = spoiled(tmp_path / "postern.db", statement)
    with pytest.raises(DatabaseFault, match=named):
        check_database(url)
    for writing in (False, True):
        engine = open_engine(url, writing=writing)
        with pytest.raises(DatabaseFault, match=named):
            engine.connect()
        engine.dispose()


@pytest.mark.parametrize(("named", "statement"), FOREIGN.values(), ids=FOREIGN)
def test_what_an_operator_adds_beside_the_tables_keeps_no_server_from_starting(
    tmp_path: Path, named: str, statement: str
):
    """Views for a dashboard, an index of one's own. A generated column is the exception: it runs."""
    url = spoiled(tmp_path / "postern.db", statement)
    if "AS (" in statement:
        with pytest.raises(DatabaseFault, match=named):
            check_database(url)
    else:
        check_database(url)


def test_the_tables_of_every_migration_are_postern_s(tmp_path: Path):
    """As its program made them, with statistics, and of a newer program too."""
    files = files_of_migrations(tmp_path)
    make_newer(f"sqlite:///{files[HEAD]}")
    for migration, path in files.items():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ANALYZE")
            entries = list(entries_of(connection))
        assert len(entries) > 10
        assert foreign(entries, newer=migration == HEAD) == [], migration
        assert running(entries) == [], migration


def test_a_newer_table_is_foreign_to_this_migration(tmp_path: Path):
    """Unknown tables, columns and indexes are accepted with the name of a newer migration only."""
    url = put_sqlite(tmp_path / "new.db")
    make_newer(url)
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        found = foreign(entries_of(connection), newer=False)
    assert [name for name in found if "autoindex" not in name] == [
        "the table runs",
        "the table notes",
        "the index runs_by_colour",
    ]


@table(
    ("sql", "columns"),
    [
        ("CREATE TABLE t (id TEXT NOT NULL, n INTEGER, CONSTRAINT k PRIMARY KEY (id))", ["id", "n"]),
        ('CREATE TABLE "t" ("id" VARCHAR(32) NOT NULL, CONSTRAINT k PRIMARY KEY ("id")\n, more TEXT)', ["id", "more"]),
        ("CREATE TABLE t (id TEXT) STRICT", None),
        ("CREATE TABLE t (id TEXT) WITHOUT ROWID", None),
        ("CREATE TABLE t (id TEXT -- comment\n)", None),
        ("CREATE TABLE t (id TEXT COLLATE nocase)", None),
        ("CREATE TABLE t (id TEXT UNIQUE ON CONFLICT REPLACE)", None),
        ("CREATE TABLE t (id)", None),
        ("CREATE TABLE t AS SELECT 1", None),
    ],
)
def test_a_plain_table_has_columns_and_a_key_only(sql: str, columns: list[str] | None):
    assert columns_of(sql) == columns


def test_nothing_in_a_schema_calls_functions_with_effects(tmp_path: Path):
    """SQLite itself refuses them; from Python 3.12 on, triggers do not run either."""
    with closing(sqlite3.connect(tmp_path / "any.db", isolation_level=None)) as connection:
        connection.create_function("effect", 0, lambda: 1)
        connection.executescript(
            "CREATE TABLE t (id); CREATE VIEW v AS SELECT effect();"
            "CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM t; END"
        )
        distrust(connection)
        with pytest.raises(sqlite3.OperationalError, match="unsafe use of effect"):
            connection.execute("SELECT * FROM v").fetchall()
        connection.execute("INSERT INTO t VALUES (1)")
        kept = connection.execute("SELECT count(*) FROM t").fetchone()[0]
    assert kept == (1 if sys.version_info >= (3, 12) else 0)
