"""What `git add .` takes of the folders that Postern makes: nothing that is Postern's, and everything of an author."""

import subprocess
from pathlib import Path

import pytest

from postern.journal.database import sqlite_copies
from postern.local_tenant import LocalTenant
from postern.own_folder import make_folder, names_of_database
from tests.databases import put_sqlite
from tests.tools import needed

pytestmark = pytest.mark.process


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An author's project, under git."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "orders.py").write_text("")
    git(folder, "init", "-q")
    monkeypatch.chdir(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run([needed("git"), *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def added(folder: Path) -> list[str]:
    """What is in the index after `git add .`"""
    git(folder, "add", ".")
    return git(folder, "ls-files").split()


def use(folder: Path) -> None:
    """What `postern dev` and the commands for the database write."""
    LocalTenant.open(folder / "local-tenant").put_secret("a", "b")
    put_sqlite(folder / "postern.db")
    sqlite_copies.put_in_place(folder / "postern.db", folder / "postern.db", ".replaced-20260101")
    (folder / "postern.db-wal").touch()


def test_a_new_folder_is_ignored(project: Path):
    use(project / "var")
    assert (project / "var" / ".gitignore").read_text() == "*\n"
    assert (project / "var" / "local-tenant" / ".gitignore").read_text() == "*\n"
    assert added(project) == ["orders.py"]


def test_so_is_the_folder_of_an_earlier_release(project: Path):
    use(project / "var")
    for file in (project / "var").rglob(".gitignore"):
        file.unlink()
    use(project / "var")
    assert (project / "var" / ".gitignore").read_text() == "*\n"
    assert added(project) == ["orders.py"]


@pytest.mark.parametrize("place", ["var", "."], ids=["folder", "project"])
def test_an_authors_files_are_not_ignored(project: Path, place: str):
    """Neither in a folder that both use, nor in the project's own."""
    (project / place).mkdir(exist_ok=True)
    (project / place / "notes.md").write_text("")
    use(project / place)
    assert added(project) == sorted(["orders.py", "notes.md" if place == "." else "var/notes.md"])


def test_an_authors_own_file_for_git_stays(project: Path):
    (project / "var").mkdir()
    (project / "var" / ".gitignore").write_text("!notes.md\n")
    use(project / "var")
    assert (project / "var" / ".gitignore").read_text() == "!notes.md\n"
    assert not [name for name in added(project) if "local-tenant" in name]


def test_a_folder_of_others_outside_of_git_gets_no_file(tmp_path: Path):
    (tmp_path / "theirs").touch()
    make_folder(tmp_path, names_of_database(tmp_path / "postern.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_a_folder_that_cannot_be_written_in_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As where only the database itself may be written."""

    def fails(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("postern.own_folder.os.open", fails)
    make_folder(tmp_path / "new", ["*"])
    assert list((tmp_path / "new").iterdir()) == []


def test_checkpoints_of_durable_runs_are_kept_from_git_like_the_database(project: Path):
    make_folder(project, names_of_database(project / "postern.db"))
    for name in ("postern.db", "postern-durable.db", "postern-durable.db-wal", ".postern-durable.db-x.partial"):
        (project / name).touch()
    assert not [name for name in added(project) if "postern" in name]
