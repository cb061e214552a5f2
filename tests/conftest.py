"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from app.local_tenant import LocalTenant, serve


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs on asyncio, and so do the tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def local_tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A local tenant that serves its keys, its vault and its directory over TLS. Tests must leave it as it is."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("local-tenant"))) as tenant:
        yield tenant
