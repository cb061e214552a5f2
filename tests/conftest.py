"""Fixtures for all tests."""

import sys
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
