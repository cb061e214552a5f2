"""Fixtures for the tests of the journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.journal.children import Child
from tests.journal.engines import empty_journal


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer finds the operations of tests on its import path, which never has the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The journal's tables, empty, on each kind of database."""
    engine = empty_journal(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.bury()
