"""A world in which grants are renewed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connections.grants.renewal import World
from tests.databases import put_sqlite


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(put_sqlite(tmp_path / "postern.db"))
    yield made
    made.database.engine.dispose()
