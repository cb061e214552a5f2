"""The fake gateway of the tests does what a gateway does."""

from collections.abc import Awaitable, Callable

import pytest

from tests.gateway.contract import CONTRACT, World
from tests.gateway.fake_gateway import fake_world

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_tunnels_keep_the_contract(check: Callable[[World], Awaitable[None]]):
    async with fake_world() as world:
        await check(world)
