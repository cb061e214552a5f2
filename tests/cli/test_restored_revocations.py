"""A restore gives no access back: the revocations of the database that it replaces are kept."""

from pathlib import Path

import pytest
from sqlalchemy import text

from postern.journal import revocations as table
from postern.journal.revocations import Kind, Revocation, Rule
from tests.cli.conftest import Postern
from tests.cli.recorded import closing_engine
from tests.releases import old_database

pytestmark = pytest.mark.slow

NOW = 1_700_000_000.0


def revoke(url: str, revocation_id: str, subject: str = "lisa") -> Revocation:
    made = Revocation(revocation_id, Rule(Kind.CALLER, "t", subject, NOW), "", "", "{}", NOW)
    with closing_engine(url) as engine, engine.begin() as connection:
        table.make(connection, made)
    return made


def stored(url: str) -> dict[str, bool]:
    """Their ids, and whether they are taken back."""
    with closing_engine(url) as engine, engine.connect() as connection:
        return {each.id: each.lifted for each in table.listed(connection, NOW, 100, active=False)}


def keeps(postern: Postern, database: str) -> None:
    revoke(database, "before")
    revoke(database, "lifted")
    assert postern("database", "backup", "copy").exit_code == 0
    revoke(database, "since", "gil")
    with closing_engine(database) as engine, engine.begin() as connection:
        table.lift(connection, "lifted", "{}", NOW + 1)
    done = postern("database", "restore", "copy", "--force")
    assert (done.exit_code, "Revocations of the previous database were kept: 3." in done.stderr) == (0, True)
    assert stored(database) == {"before": False, "since": False, "lifted": True}


def test_what_was_revoked_since_the_backup_stays_revoked(postern: Postern, url: str):
    keeps(postern, url)


def test_also_with_a_dump_of_postgresql(postern: Postern, postgres: str):
    keeps(postern, postgres)


def test_those_of_the_backup_come_back_where_there_was_no_database(postern: Postern, url: str, folder: Path):
    revoke(url, "before")
    assert postern("database", "backup", "copy").exit_code == 0
    (folder / "postern.db").unlink()
    assert postern("database", "restore", "copy").exit_code == 0
    assert stored(url) == {"before": False}


def test_a_database_of_an_earlier_release_has_none(postern: Postern, folder: Path, monkeypatch: pytest.MonkeyPatch):
    made = f"sqlite:///{folder / 'old.db'}"
    old_database(made)
    monkeypatch.setenv("POSTERN_DATABASE_URL", made)
    assert postern("database", "backup", "copy").exit_code == 0
    done = postern("database", "restore", "copy", "--force")
    assert (done.exit_code, "Revocations" in done.stderr) == (0, False)
    assert stored(made) == {}


def test_a_damaged_database_leaves_it_to_the_operator(postern: Postern, url: str, folder: Path):
    revoke(url, "before")
    assert postern("database", "backup", "copy").exit_code == 0
    (folder / "postern.db").write_bytes(b"\xff" * 8192)
    done = postern("database", "restore", "copy", "--force")
    assert (done.exit_code, "revoke again what has to stay revoked" in done.stderr) == (0, True)


def test_a_downgrade_says_how_many_are_lost(postern: Postern, url: str):
    revoke(url, "before")
    said = postern("database", "downgrade", "--to", "0009_for_0002").stderr
    assert "lost: table revocations of migration 0010_for_0002, with 1 row" in said
    with closing_engine(url) as engine, engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM revocations")).scalar() == 1
