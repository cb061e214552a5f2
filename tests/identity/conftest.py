"""What the tests of identity share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Identity belongs to an asyncio event loop."""
    return "asyncio"
