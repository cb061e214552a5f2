"""What the tests of identity share."""

import pytest
from hypothesis import settings

settings.register_profile("identity", deadline=None)  # a busy machine is no fault
settings.load_profile("identity")


@pytest.fixture
def anyio_backend() -> str:
    """Identity belongs to an asyncio event loop."""
    return "asyncio"
