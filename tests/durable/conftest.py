"""Fixtures for the tests of durable runs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.durable.host import Host


@pytest.fixture
async def durable_host(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Host]:
    """A server process with the durable engine, on each kind of database. `@pytest.mark.parametrize("durable_host",
    [{"held": 0.1}], indirect=True)` sets options of Host."""
    monkeypatch.chdir(tmp_path)  # the writer imports nothing from there
    options: dict[str, Any] = getattr(request, "param", {})
    host = Host(database_url, **options)
    await host.open()
    yield host
    await host.close()
