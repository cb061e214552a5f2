"""Fixtures for the tests of runs."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.journal.engines import empty_journal


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The journal's tables, empty, on each kind of database."""
    engine = empty_journal(database_url)
    yield engine
    engine.dispose()
