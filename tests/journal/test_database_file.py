"""What may be at the place of the database, who else may read it, and what no server can ever use."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import text

from postern.errors import DatabaseFault
from postern.journal.database.engine import check_database, open_engine
from postern.journal.database.sqlite_file import exposures, make_file

pytestmark = pytest.mark.slow


def url_of(path: Path) -> str:
    """In a URL, a percent sign is written as %25 (RFC 3986, section 2.4)."""
    return f"sqlite:///{path}".replace("%", "%25")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "runs.db"


def test_a_new_database_and_its_folder_are_for_their_owner_only(path):
    engine = open_engine(url_of(path), writing=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
        modes = {each.name: mode(each) for each in (path.parent, *path.parent.iterdir())}
    engine.dispose()
    assert modes.pop("var") == 0o700
    assert set(modes) >= {"runs.db", "runs.db-wal", "runs.db-shm"}
    assert set(modes.values()) == {0o600}
    assert exposures(path) == []


@pytest.mark.parametrize("writing", [True, False])
def test_a_file_that_is_gone_is_not_made_again(path, writing):
    """SQLite would make it readable by all, and write into it what belongs to another."""
    engine = open_engine(url_of(path), writing=writing)
    path.unlink()
    with pytest.raises(Exception, match="unable to open database file"):
        engine.connect()
    assert not path.exists()
    engine.dispose()


@example("%01")
@given(st.text(st.characters(exclude_characters="/?", exclude_categories=["C"]), min_size=1, max_size=30))
def test_the_file_has_the_name_that_the_url_has(tmp_path_factory, name):
    if name in (".", "..", ":memory:"):
        return
    folder = tmp_path_factory.mktemp("names")
    engine = open_engine(url_of(folder / name), writing=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
    engine.dispose()
    assert [each.name for each in folder.iterdir() if each.name != ".gitignore"] == [name]
    with closing(sqlite3.connect(folder / name)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def a_pipe(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def a_dangling_link(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path.parent.parent / "elsewhere.db")


def a_folder_that_dangles(path: Path) -> None:
    path.parent.symlink_to(path.parent.parent / "elsewhere")


def another_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("hello " * 1000)


def a_damaged_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (a_folder, "is a folder: name a file"),
        (a_pipe, "is a pipe: name a file"),
        (a_dangling_link, "is a link to .*elsewhere.db, which does not exist"),
        (a_folder_that_dangles, "is a link to .*elsewhere, which does not exist"),
        (another_file, "is not a SQLite database"),
        (a_damaged_file, "file is not a database"),
    ],
)
def test_what_can_never_be_the_database_is_said_in_one_sentence_with_the_setting(there, words, path, tmp_path):
    there(path)
    with pytest.raises(DatabaseFault, match=f"^POSTERN_DATABASE_URL.*{words}"):
        check_database(url_of(path))
    assert not list(tmp_path.glob("elsewhere*"))


def test_a_device_is_no_file():
    with pytest.raises(DatabaseFault, match="POSTERN_DATABASE_URL: /dev/null is a device"):
        check_database("sqlite:////dev/null")


@pytest.mark.parametrize("closed", [0, 1])
def test_what_this_user_may_not_write_is_said(closed, path, monkeypatch):
    """Root may write everything, so the system's answer is replaced."""
    make_file(path)
    place = (path, path.parent)[closed]
    monkeypatch.setattr(os, "access", lambda asked, rights: asked != place)
    with pytest.raises(DatabaseFault, match=f"this user may not write {place}, which SQLite needs"):
        check_database(url_of(path))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:private@localhost:1/x?nonsense=1", "nonsense is not an option of PostgreSQL's client"),
        ("postgresql://u:private@localhost:1/x?sslmode=private", "invalid sslmode value"),
        ("postgresql://u:private@localhost:1/x?channel_binding=private", "invalid channel_binding value"),
    ],
)
def test_options_that_no_server_can_make_work_are_said_and_their_values_are_not(url, words):
    with pytest.raises(DatabaseFault) as caught:
        check_database(url)
    assert str(caught.value) == f"POSTERN_DATABASE_URL cannot be used: {words}"


def test_a_server_that_is_not_there_yet_is_waited_for():
    assert not check_database("postgresql://u@127.0.0.1:1/x")


def test_an_empty_file_and_a_link_to_a_file_can_be_the_database(path):
    path.parent.mkdir()
    (path.parent / "real.db").touch()
    path.symlink_to("real.db")
    assert not check_database(url_of(path)), "its tables are still to be made"
    assert path.is_symlink()


@pytest.mark.process
@pytest.mark.parametrize(
    ("file", "folder", "commands"),
    [
        (0o600, 0o755, []),
        (0o644, 0o700, ["chmod 600 {path}"]),
        (0o666, 0o777, ["chmod 600 {path}", "chmod go-w {path.parent}"]),
        (0o600, 0o1777, ["chmod go-w {path.parent}"]),
        (0o640, 0o775, ["chmod 600 {path}", "chmod go-w {path.parent}"]),
    ],
)
def test_modes_that_were_there_before_are_named_with_the_command_that_corrects_them(file, folder, commands, path):
    make_file(path)
    path.chmod(file)
    path.parent.chmod(folder)
    found = exposures(path)
    assert [command for _, _, command in found] == [each.format(path=path) for each in commands]
    for _, _, command in found:
        assert os.system(command) == 0
    assert exposures(path) == []


def test_the_log_beside_the_database_counts_too(path):
    make_file(path)
    log = path.with_name("runs.db-wal")
    log.touch(0o644)
    assert exposures(path) == [(log, "0644", f"chmod 600 {log}")]


def test_a_file_of_checkpoints_that_others_can_read_is_named_too(path: Path):
    make_file(path)
    checkpoints = path.with_name(f"{path.stem}-durable{path.suffix}")
    checkpoints.touch(0o644)
    checkpoints.chmod(0o644)
    assert [str(place) for place, *_ in exposures(path)] == [str(checkpoints)]
