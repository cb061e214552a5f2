"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant, serve
from tests.databases import make_tables, put_sqlite
from tests.modules import no_modules_left
from tests.postgres import new_database, postgres_server


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
    """Remove what a catalog adds to `sys.modules` and the import system after the test."""
    with no_modules_left():
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server to create databases on: the one of POSTERN_TEST_POSTGRES_URL, or else a temporary one on a
    Unix socket."""
    if named := os.environ.get("POSTERN_TEST_POSTGRES_URL"):
        yield named
        return
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """A database of that server that has the tables."""
    with new_database(postgres_url) as (name, url):
        make_tables(url)
        yield name


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind for this test only, with empty tables."""
    if request.param == "sqlite":
        yield put_sqlite(tmp_path / "postern.db")
        return
    template = request.getfixturevalue("postgres_template")
    with new_database(request.getfixturevalue("postgres_url"), template) as (_, url):
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'postern.db'}"
        return
    with new_database(request.getfixturevalue("postgres_url")) as (_, url):
        yield url
