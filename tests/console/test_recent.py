"""What many viewers look at is read once in a while for all of them."""

import asyncio

import pytest

from postern.console.recent import MOST_KEPT, Recent

pytestmark = pytest.mark.anyio


class Source:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> int:
        self.reads += 1
        number = self.reads
        await self.gate.wait()
        if self.fails:
            raise OSError("away")
        return number


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_value_is_read_again_only_when_it_is_old():
    clock, source = Clock(), Source()
    recent = Recent[int](10, clock)
    assert [await recent.get("all", source.read) for _ in range(3)] == [1, 1, 1]
    clock.now += 9.9
    assert await recent.get("all", source.read) == 1
    clock.now += 0.1
    assert await recent.get("all", source.read) == 2


async def test_old_values_are_not_kept_in_memory():
    clock, source = Clock(), Source()
    recent = Recent[int](10, clock)
    for number in range(50):
        await recent.get(number, source.read)
    clock.now += 10
    await recent.get("all", source.read)
    assert len(recent) == 1


async def test_each_key_has_a_value_of_its_own():
    recent, ada, lisa = Recent[int](10, Clock()), Source(), Source()
    await recent.get("ada", ada.read)
    await recent.get("lisa", lisa.read)
    assert (ada.reads, lisa.reads) == (1, 1)


async def test_those_who_ask_at_the_same_time_share_a_read_also_if_one_of_them_leaves():
    recent, source = Recent[int](10, Clock()), Source()
    source.gate.clear()
    waiting = [asyncio.ensure_future(recent.get("all", source.read)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [1] * 4
    assert source.reads == 1


async def test_a_failure_is_raised_to_all_who_waited_and_not_kept():
    recent, source = Recent[int](10, Clock()), Source()
    source.fails = True
    both = await asyncio.gather(*(recent.get("all", source.read) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in both] == [OSError, OSError]
    source.fails = False
    assert await recent.get("all", source.read) == 2


async def test_it_keeps_a_bounded_number_of_values():
    recent, source = Recent[int](10, Clock()), Source()
    for number in range(MOST_KEPT + 1):
        await recent.get(number, source.read)
    await recent.get(MOST_KEPT, source.read)
    assert source.reads == MOST_KEPT + 1
    await recent.get(0, source.read)
    assert source.reads == MOST_KEPT + 2
