"""A tenant that is served, and clients for it."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant, serve


@dataclass
class Clock:
    """Seconds since 1970, moved by hand."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory, clock: Callable[[], float]) -> Iterator[LocalTenant]:
    """A tenant that listens while the module's tests run."""
    folder = tmp_path_factory.mktemp("postern") / "local-tenant"
    with serve(LocalTenant.open(folder), clock=clock) as tenant:
        yield tenant


@pytest.fixture
async def client(tenant: LocalTenant) -> AsyncIterator[AsyncClient]:
    """The project's HTTP client, trusting the tenant's authority and no other."""
    async with http_client(tenant.ca_bundle, base_url=tenant.authority, timeout=10) as client:
        yield client
