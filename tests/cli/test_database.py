"""`postern database`: what it shows, and when it stops with an error."""

import json
import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer
from sqlalchemy import insert

from postern.journal.audit import append
from postern.journal.audit_chain import Head, packed
from postern.journal.audit_event import AuditEvent, Kind
from postern.journal.database import postgres_dumps, sqlite_copies
from postern.journal.database.engine import open_engine
from postern.journal.database.revisions import HEAD
from postern.journal.process_identity import this_process
from postern.journal.schema import calls
from tests.cli.conftest import Postern
from tests.cli.recorded import SECRET, closing_engine, live, recorded, work
from tests.journal.children import Child
from tests.journal.grant_rows import grant, put
from tests.releases import RUN, make_newer, old_database
from tests.tools import postgres_tools

pytestmark = pytest.mark.slow


def test_the_contents_are_shown(postern: Postern, url: str):
    live(url, this_process())
    shown = postern("database")
    assert shown.exit_code == 0
    rows = dict(line.split("  ", 1) for line in shown.stdout.splitlines())
    cells = {name: value.strip() for name, value in rows.items()}
    assert cells["database"] == url
    assert cells["migration"] == f"{HEAD} (this program's is {HEAD}): current"
    assert (cells["runs"], cells["refusals"], cells["newest run"]) == ("1", "1", "2025-07-08T18:40:00Z")
    assert str(os.getpid()) in cells["running servers"]
    document = json.loads(postern("database", "--json").stdout)
    assert document == json.loads(postern("database", "show", "--json").stdout)
    assert (document["kind"], document["state"], document["wanted"], document["runs"]) == ("sqlite", "current", HEAD, 1)
    assert [node["process"] for node in document["nodes"]] == [this_process()]


def test_a_database_that_is_not_there_is_shown_and_not_made(postern: Postern, folder: Path):
    document = json.loads(postern("database", "--json").stdout)
    assert (document["state"], document["migration"], document["size_bytes"]) == ("empty", None, 0)
    for command in (("backup", "file"), ("downgrade", "--one")):
        result = postern("database", *command)
        assert (result.exit_code, "POSTERN_DATABASE_URL" in result.stderr) == (2, True)
    assert not (folder / "var" / "postern.db").exists()


@pytest.mark.process
def test_a_password_is_never_shown(postern: Postern, folder: Path):
    """Not where the database is shown, nor in what a tool or driver says."""
    urls = [f"postgresql://me:{SECRET}@127.0.0.1:1/db", f"postgresql://me@127.0.0.1:1/db?password={SECRET}"]
    for made in urls:
        for command in (("show",), ("upgrade",), ("backup", "file"), ("downgrade", "--one", "--yes")):
            result = postern("database", *command, POSTERN_DATABASE_URL=made)
            assert result.exit_code in (1, 2)
            assert "127.0.0.1" in result.stderr
            assert SECRET not in result.output
    assert not (folder / "file").exists()


def test_tables_are_upgraded_and_downgraded(postern: Postern, folder: Path, monkeypatch: pytest.MonkeyPatch):
    made = f"sqlite:///{folder / 'old.db'}"
    monkeypatch.setenv("POSTERN_DATABASE_URL", made)
    old = old_database(made)
    assert json.loads(postern("database", "--json").stdout)["state"] == "older"
    raised = postern("database", "upgrade")
    assert (raised.exit_code, f"from 0001 to migration {HEAD}" in raised.stderr) == (0, True)
    assert "already" in postern("database", "upgrade").stderr
    with closing_engine(made) as engine, engine.begin() as connection:
        connection.execute(insert(calls), [{"run_id": RUN, "number": 1, "name": "x", "started_at": 1, "ended_at": 2}])
    with closing_engine(made) as engine:
        put(engine, grant(), grant("shared", ""))
        with engine.begin() as connection:
            append(connection, "node", Head(), packed([AuditEvent(Kind.SIGN_IN, 1.0)] * 3))

    declined = postern("database", "downgrade", "--to", "0001", stdin="n\n")
    assert declined.exit_code == 1
    assert declined.stderr.index("lost: table calls of migration 0002, with 1 row") < declined.stderr.index(
        "Downgrade?"
    )
    one = postern("database", "downgrade", "--one")
    assert one.exit_code == 1  # no answer
    assert f" of migration {HEAD}, with no rows" in one.stderr
    assert "lost: table durable_runs of migration 0011_for_0002, with no rows" in declined.stderr
    assert "lost: table audit_events of migration 0010_for_0002, with 3 rows" in declined.stderr
    assert "lost: table grants of migration 0009_for_0002, with 2 rows" in declined.stderr
    assert json.loads(postern("database", "--json").stdout)["migration"] == HEAD
    assert postern("database", "downgrade", "--to", "0001", stdin="y\n").exit_code == 0
    assert json.loads(postern("database", "--json").stdout)["migration"] == "0001"
    assert recorded(made) == old


@pytest.mark.parametrize("arguments", [(), ("--one", "--to", "0001"), ("--to", HEAD), ("--to", "x")], ids=str)
def test_how_far_back_has_to_be_said(postern: Postern, url: str, arguments: tuple[str, ...]):
    result = postern("database", "downgrade", "--yes", *arguments)
    assert (result.exit_code, "--to" in result.stderr) == (2, True)


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.bury()


@pytest.mark.process
def test_a_server_that_lives_keeps_tables_as_they_are(postern: Postern, url: str, child: Child):
    backup = postern("database", "backup", "copy")
    assert backup.exit_code == 0
    live(url, child.name)
    for command in (("downgrade", "--one", "--yes"), ("restore", "copy", "--force")):
        refused = postern("database", *command)
        assert (refused.exit_code, "servers run on" in refused.stderr) == (1, True)
    child.kill()
    assert postern("database", "restore", "copy", "--force").exit_code == 0
    live(url, this_process())
    assert postern("database", "downgrade", "--one", "--yes", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("place", "module", "step"),
    [("url", sqlite_copies, "copy"), ("postgres", postgres_dumps, "move_aside")],
    ids=["sqlite", "postgres"],
)
@pytest.mark.process
def test_a_server_that_starts_while_a_backup_is_put_in_keeps_its_database(
    request: pytest.FixtureRequest, postern: Postern, monkeypatch: pytest.MonkeyPatch, place: str, module, step: str
):
    made = request.getfixturevalue(place)
    assert postern("database", "backup", "copy").exit_code == 0
    go_on = getattr(module, step)

    def meanwhile(*arguments: object) -> object:
        live(made, this_process())
        return go_on(*arguments)

    monkeypatch.setattr(module, step, meanwhile)
    refused = postern("database", "restore", "copy", "--force")
    assert (refused.exit_code, "have started on this database meanwhile" in refused.stderr) == (1, True)
    assert recorded(made) == [RUN]


def test_a_server_that_starts_during_the_confirmation_of_a_downgrade_keeps_its_tables(
    postern: Postern, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: live(url, this_process()))
    refused = postern("database", "downgrade", "--one")
    assert (refused.exit_code, "have started on this database meanwhile" in refused.stderr) == (1, True)
    assert json.loads(postern("database", "--json").stdout)["migration"] == HEAD


def test_a_backup_is_for_its_owner_and_overwrites_nothing(postern: Postern, url: str, folder: Path):
    file = folder / "copy"
    file.write_text("mine")
    refused = postern("database", "backup", "copy")
    assert (refused.exit_code, file.read_text(), "--force" in refused.stderr) == (2, "mine", True)
    assert postern("database", "backup", "copy", "--force").exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for wrong, expected in (
        ("postern.db", "the database itself"),
        ("postern.db-wal", "or its log"),
        ("workflows", "is a folder"),
        ("no-folder/file", "no-folder"),
    ):
        result = postern("database", "backup", wrong, "--force")
        assert (result.exit_code, expected in result.stderr, ".partial" in result.stderr) == (2, True, False)
    assert recorded(url) == [RUN]
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_backup_that_ends_early_leaves_nothing_behind(
    postern: Postern, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite_copies, "copy", full)
    refused = postern("database", "backup", "copy")
    assert (refused.exit_code, refused.stderr) == (1, "postern: copy: No space left on device.\n")
    monkeypatch.setattr(sqlite_copies, "copy", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert postern("database", "backup", "copy").exit_code == 128 + signal.SIGTERM
    assert [path.name for path in folder.iterdir() if "copy" in path.name] == []


def test_a_damaged_database_gives_no_backup(postern: Postern, url: str, folder: Path):
    damaged(folder, "postern.db")
    refused = postern("database", "backup", "copy")
    assert refused.exit_code in (1, 2)
    assert "postern.db" in refused.stderr
    assert ".partial" not in refused.stderr
    assert [path.name for path in folder.iterdir() if "copy" in path.name] == []


def test_without_tables_there_is_nothing_to_back_up(
    request: pytest.FixtureRequest, postern: Postern, new_database_url: str, monkeypatch: pytest.MonkeyPatch
):
    if new_database_url.startswith("postgresql"):
        monkeypatch.setenv("PATH", postgres_tools(request.getfixturevalue("postgres_url")))
    open_engine(new_database_url, writing=True).dispose()
    refused = postern("database", "backup", "copy", POSTERN_DATABASE_URL=new_database_url)
    assert (refused.exit_code, "no tables yet" in refused.stderr) == (2, True)


def test_records_are_replaced_only_by_force_and_moved_aside(postern: Postern, url: str, folder: Path):
    assert postern("database", "backup", "copy").exit_code == 0
    work(url, another := RUN.replace("0", "1"))
    refused = postern("database", "restore", "copy")
    assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    assert recorded(url) == [RUN, another]
    done = postern("database", "restore", "copy", "--force")
    assert done.exit_code == 0
    assert recorded(url) == [RUN]
    (aside,) = folder.glob("postern.db.replaced-*")
    assert str(aside) in done.stderr
    assert recorded(f"sqlite:///{aside}") == [RUN, another]


def test_an_old_backup_is_upgraded_to_this_release(postern: Postern, folder: Path):
    made = f"sqlite:///{folder / 'old.db'}"
    old = old_database(made)
    assert postern("database", "backup", "copy", POSTERN_DATABASE_URL=made).exit_code == 0
    done = postern("database", "restore", "copy")
    assert (done.exit_code, f"migration 0001, now {HEAD}" in done.stderr) == (0, True)
    assert recorded(f"sqlite:///{folder / 'var' / 'postern.db'}") == old


def damaged(folder: Path, name: str = "copy") -> None:
    content = bytearray((folder / name).read_bytes())
    content[8192:20480] = b"\xff" * 12288
    (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    (folder / "copy").write_bytes((folder / "copy").read_bytes()[:20000])


def no_database(folder: Path) -> None:
    (folder / "copy").write_bytes(b"text")


def a_dump(folder: Path) -> None:
    (folder / "copy").write_bytes(b"PGDMP and so on")


def of_others(folder: Path) -> None:
    (folder / "copy").unlink()
    with closing(sqlite3.connect(folder / "copy")) as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")


def of_others_with_migrations(folder: Path) -> None:
    of_others(folder)
    with closing(sqlite3.connect(folder / "copy")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")


def newer(folder: Path) -> None:
    make_newer(f"sqlite:///{folder / 'copy'}", "0009")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (damaged, "is damaged"),
        (cut, "is damaged"),
        (no_database, "is not a backup"),
        (a_dump, "is a backup of PostgreSQL"),
        (of_others, "is not a backup of Postern"),
        (of_others_with_migrations, "is not a backup of Postern"),
        (newer, "newer Postern"),
    ],
)
def test_an_invalid_backup_replaces_nothing(postern: Postern, url: str, folder: Path, spoil, expected: str):
    assert postern("database", "backup", "copy").exit_code == 0
    spoil(folder)
    refused = postern("database", "restore", "copy", "--force")
    assert (refused.exit_code, expected in refused.stderr) == (2, True)
    assert recorded(url) == [RUN]
    assert [path.name for path in folder.glob("*postern.db*")] == ["postern.db"]


def test_a_damaged_database_is_replaced_by_force(postern: Postern, url: str, folder: Path):
    assert postern("database", "backup", "copy").exit_code == 0
    (folder / "postern.db").write_bytes(b"\xff" * 8192)
    refused = postern("database", "restore", "copy")
    assert (refused.exit_code, "restore FILE --force" in refused.stderr) == (1, True)
    assert postern("database", "restore", "copy", "--force").exit_code == 0
    assert recorded(url) == [RUN]
