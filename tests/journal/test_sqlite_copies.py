"""Copies of a SQLite file that is written to meanwhile, and how one takes a database's place."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from postern.journal.database import sqlite_copies
from postern.journal.database.engine import open_engine
from postern.journal.database.revisions import HEAD
from tests.databases import put_sqlite
from tests.releases import OF_0001, RUN, old_database, say

pytestmark = pytest.mark.slow


def insert(url: str, first: int, count: int) -> None:
    engine = open_engine(url, writing=True)
    with engine.begin() as connection:
        for number in range(first, first + count):
            say(connection, OF_0001, f"{RUN[:-4]}{number:04}")
    engine.dispose()


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])


def test_a_copy_is_of_one_moment_and_never_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Rows come between every two parts of it."""
    url = put_sqlite(tmp_path / "postern.db")
    insert(url, 0, 300)
    monkeypatch.setattr(sqlite_copies, "PAGES", 10)
    left: list[int] = []

    def progress(pages: int, _: int) -> None:
        insert(url, 1000 + 10 * len(left), 10)
        left.append(pages)

    with sqlite_copies.new_file(tmp_path / "copy") as made:
        sqlite_copies.copy(tmp_path / "postern.db", made, progress)
        made.replace(tmp_path / "copy")
    assert len(left) > 3
    assert left == sorted(set(left), reverse=True)
    assert count(tmp_path / "copy") == 300
    assert count(tmp_path / "postern.db") == 300 + 10 * len(left)


def test_the_log_of_an_old_database_never_meets_a_new_one(tmp_path: Path):
    """Its server was killed, and what it wrote last is in the log beside the file only."""
    place = tmp_path / "postern.db"
    url = put_sqlite(place)
    with closing(sqlite3.connect(place)) as held:  # keeps the log where it is
        held.execute("SELECT count(*) FROM runs").fetchone()
        insert(url, 0, 5)
        content = {path.name: path.read_bytes() for path in tmp_path.glob("postern.db*")}
    killed = tmp_path / "killed"
    killed.mkdir()
    for name, data in content.items():
        (killed / name).write_bytes(data)
    assert (killed / "postern.db-wal").stat().st_size > 0
    empty = put_sqlite(tmp_path / "empty.db")
    copied = Path(empty.removeprefix("sqlite:///"))
    moved = sqlite_copies.put_in_place(copied, killed / "postern.db", ".old")
    assert moved == killed / "postern.db.old"
    assert count(killed / "postern.db") == 0
    assert count(killed / "postern.db.old") == 5


def test_a_log_that_was_left_alone_is_moved_out_of_the_way(tmp_path: Path):
    (tmp_path / "postern.db-wal").write_bytes(b"of a file that is gone")
    copied = put_sqlite(tmp_path / "empty.db").removeprefix("sqlite:///")
    assert sqlite_copies.put_in_place(Path(copied), tmp_path / "postern.db", ".old") is None
    assert (tmp_path / "postern.db.old-wal").read_bytes() == b"of a file that is gone"
    assert count(tmp_path / "postern.db") == 0


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41b", 'it\'s "so"'])
def test_names_that_a_url_reads_differently_are_names(tmp_path: Path, name: str):
    """An old backup is brought to this release where it is, and nothing is made elsewhere."""
    old_database(f"sqlite:///{tmp_path / 'copy'}")
    place = tmp_path / name / "postern.db"
    sqlite_copies.put_in_place(tmp_path / "copy", place, ".old")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "copy"])
    assert sorted(path.name for path in place.parent.iterdir()) == [".gitignore", "postern.db"]
    assert sqlite_copies.look_at(place) == HEAD


def test_an_interruption_at_the_last_moment_leaves_the_database_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "postern.db"
    insert(put_sqlite(place), 0, 5)
    put_sqlite(tmp_path / "copy")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sqlite_copies.put_in_place(tmp_path / "copy", place, ".old")
    assert count(place) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "postern.db"]


def test_a_database_stays_its_owners_also_where_root_restores_it(tmp_path: Path):
    place = tmp_path / "postern.db"
    put_sqlite(place)
    put_sqlite(tmp_path / "copy")
    if os.geteuid() == 0:
        os.chown(place, 12345, 12345)
    before = place.stat()
    sqlite_copies.put_in_place(tmp_path / "copy", place, ".old")
    assert (place.stat().st_uid, place.stat().st_gid) == (before.st_uid, before.st_gid)


def test_what_fails_leaves_nothing_behind(tmp_path: Path):
    place = tmp_path / "postern.db"
    put_sqlite(place)
    (tmp_path / "other").write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite_copies.put_in_place(tmp_path / "other", place, ".old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "postern.db"]
    engine = open_engine(f"sqlite:///{place}", writing=False)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM runs")).scalar() == 0
    engine.dispose()
