"""Fixtures for all tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.ids import new_id
from app.local_tenant import LocalTenant, serve
from tests.postgres import postgres_server


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs on asyncio, and so do the tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def local_tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A local tenant that serves its keys, its vault and its directory over TLS. Tests must leave it as it is."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("local-tenant"))) as tenant:
        yield tenant


@pytest.fixture
def own_modules() -> Iterator[None]:
    """What a catalog puts into `sys.modules` and the import system goes with the test."""
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "workflows"}
    finders = list(sys.meta_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "workflows"]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.meta_path[:] = finders


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server to make databases on: the one that POSTERN_TEST_POSTGRES_URL names, or else one of our own,
    on a Unix socket and gone at the end."""
    if named := os.environ.get("POSTERN_TEST_POSTGRES_URL"):
        yield named
        return
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind, this test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'postern.db'}"
        return
    import psycopg
    from sqlalchemy import make_url

    server = request.getfixturevalue("postgres_url")
    name = f"test_{new_id().replace('-', '')}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
