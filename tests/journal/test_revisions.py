"""Migrations only add, so that the release before works on newer tables; and each release knows which ones suit it."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import postern.journal
from postern.errors import DatabaseFault
from postern.journal.database.engine import alembic_config, check_database, migrate, open_engine
from postern.journal.database.revisions import HEAD, MIGRATIONS, is_newer, numbers
from tests.databases import put_sqlite
from tests.releases import NEWER, files_of_migrations, make_newer, shape
from tests.table import table

pytestmark = pytest.mark.slow

PAGE = Path(postern.journal.__file__).with_name("README.md").read_text(encoding="utf-8")


@table(
    ("found", "head", "suits"),
    [
        ("0003_for_0002", "0002", True),
        ("0009_for_0002", "0002", True),
        ("0003_for_0001", "0002", True),
        ("0004_for_0003", "0003_for_0002", True),
        ("0003_for_0003", "0002", False),
        ("0003", "0002", False),
        ("0009_for_0004", "0003_for_0002", False),
        ("0002", "0002", False),
        ("0002_for_0001", "0002", False),  # not newer: of another line of migrations
        ("", "0002", False),
        ("9999_for_", "0002", False),
        ("0003_for_0002; x", "0002", False),
        ("3_for_2", "0002", False),
    ],
)
def test_a_name_says_whether_newer_tables_suit(found: str, head: str, suits: bool):
    assert is_newer(found, head) is suits


def test_each_migration_suits_the_release_before():
    """Those that came before names said so are exempt: their programs did not look."""
    said = [(int(number), int(since)) for number, since in map(numbers, MIGRATIONS)]
    numbered = [number for number, _ in said]
    assert numbered == sorted(set(numbered))
    new = said[2:]
    assert [pair for pair in new if pair[1] >= pair[0]] == []
    assert sorted(since for _, since in new) == [since for _, since in new]


def scripts() -> list[Any]:
    """All migrations, oldest first."""
    return list(reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions())))


def test_each_migration_but_the_first_can_be_taken_back():
    assert [script.revision for script in scripts()[1:] if not hasattr(script.module, "downgrade")] == []


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The tables of each migration."""
    found = {}
    for migration, path in files_of_migrations(tmp_path_factory.mktemp("migrations")).items():
        engine = open_engine(f"sqlite:///{path}", writing=False)
        found[migration] = shape(engine)
        engine.dispose()
    return found


@pytest.mark.parametrize(("before", "after"), list(pairwise(MIGRATIONS)), ids=str)
def test_a_migration_adds_what_it_says_and_takes_nothing_away(
    shapes: dict[str, dict[str, Any]], before: str, after: str
):
    old, new = shapes[before], shapes[after]
    added = set(new) - set(old)
    for name_of_table, parts in old.items():
        columns, known = new[name_of_table]["columns"], parts["columns"]
        assert {name: columns.get(name) for name in known} == known
        more = set(columns) - set(known)
        assert [name for name in more if not columns[name][1] and columns[name][2] is None] == []
        added |= {f"{name_of_table}.{name}" for name in more}
        for part in ("key", "unique", "foreign", "checks"):
            assert new[name_of_table][part] == parts[part]
        assert parts["indexes"].items() <= new[name_of_table]["indexes"].items()
        assert [name for name, index in new[name_of_table]["indexes"].items() if index[1]] == []
    script = next(script for script in scripts() if script.revision == after)
    assert set(script.module.adds) == added


def test_tables_of_a_newer_release_that_suit_are_left_as_they_are(database_url: str):
    make_newer(database_url)
    assert check_database(database_url)
    engine = open_engine(database_url, writing=True)
    assert migrate(engine) == NEWER
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == NEWER
        assert inspect(connection).has_table("notes")
    engine.dispose()


@pytest.mark.parametrize("revision", [f"{int(HEAD[:4]) + 1:04}", "9999_for_9998", "something else"])
def test_tables_of_a_newer_release_that_do_not_suit_are_rejected(tmp_path: Path, revision: str):
    url = put_sqlite(tmp_path / "postern.db")
    make_newer(url, revision)
    with pytest.raises(DatabaseFault, match=r"newer Postern.*postern database downgrade.*POSTERN_DATABASE_URL"):
        check_database(url)
    engine = open_engine(url, writing=True)
    with pytest.raises(DatabaseFault, match=re.escape(revision)):
        migrate(engine)
    engine.dispose()


def test_the_page_states_the_rules():
    section = PAGE.split("## Migrations\n")[1].split("\n## ")[0]
    for word in ("only adds", "`adds`", "`_for_`", "downgrade", HEAD):
        assert word in section
