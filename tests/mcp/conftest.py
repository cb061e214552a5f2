"""What most tests of `/mcp` share: an installation with the tools of their module."""

from collections.abc import AsyncIterator

import pytest

from postern.local_tenant import LocalTenant
from tests.mcp.installation import GATE, Installation, installation


@pytest.fixture(scope="module")
async def tools(
    request: pytest.FixtureRequest, local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """A server with the workflows of the module's MODULE. The tokens of its REVOKED, if it has any, are refused."""
    revoked = getattr(request.module, "REVOKED", ())
    async with installation(local_tenant, tmp_path_factory.mktemp("mcp"), request.module.MODULE, revoked) as running:
        yield running


@pytest.fixture(autouse=True)
def closed_gate() -> None:
    """Workflows wait at the gate until a test opens it."""
    GATE.close()
