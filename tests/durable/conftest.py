"""Fixtures for the tests of durable runs."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any

import pytest

from tests.databases import put_sqlite
from tests.durable.host import Host

ON_POSTGRESQL = {"test_dbos_engine.py", "test_engine.py", "test_faults.py", "test_approvals.py"}
"""The modules whose tests run on PostgreSQL too in `make test`. The others do in `make soak`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One database is enough for most of them each time."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.path.name not in ON_POSTGRESQL and "postgresql" in item.name:
            item.add_marker("long")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


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


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
async def shared_host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Host]:
    """The same for all tests of a module, because a new one takes a second. DBOS is one in a process: such a module has
    no other host."""
    folder = tmp_path_factory.mktemp("durable")
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = put_sqlite(folder / "postern.db")
        else:
            url = stack.enter_context(request.getfixturevalue("postgres_databases").one())
        with chdir(folder):
            host = Host(url)
            await host.open()
        yield host
        await host.close()
