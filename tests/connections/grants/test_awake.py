"""A stop of the whole process does not count as time in which the other side did not respond."""

import asyncio
from itertools import chain, repeat

import pytest

from postern.connections.grants.awake import PARTS, awake_timeout

pytestmark = pytest.mark.anyio


async def test_it_raises_when_the_time_is_over():
    with pytest.raises(TimeoutError):
        async with awake_timeout(0.01):
            await asyncio.Event().wait()


async def test_it_raises_nothing_afterwards_and_passes_on_what_is_raised_inside():
    with pytest.raises(ValueError, match="inside"):
        async with awake_timeout(0.01):
            raise ValueError("inside")
    async with awake_timeout(0.001):
        pass
    await asyncio.sleep(0.005)


async def test_a_jump_of_the_clock_counts_as_two_parts_at_most():
    """The process was stopped for 1,000 s at each of so many ticks."""
    jumps = PARTS // 2 - 1
    clock = chain((1000.0 * number for number in range(jumps + 1)), repeat(1000.0 * jumps))
    looks = []

    def time() -> float:
        looks.append(next(clock))
        return looks[-1]

    async with awake_timeout(0.02, time):
        while len(looks) < 3 * PARTS:
            await asyncio.sleep(0)


async def test_what_arrived_during_a_stop_is_read():
    now = 0.0
    response = asyncio.get_running_loop().create_future()

    def wake() -> None:
        nonlocal now
        now = 1000.0
        response.set_result("tokens")

    async with awake_timeout(0.02, lambda: now):
        asyncio.get_running_loop().call_later(0.0025, wake)
        assert await response == "tokens"
