"""Parts start in order, stop in reverse, and share no name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from postern.assembly.part import Part, joined, start

pytestmark = pytest.mark.anyio


def part(name: str, events: list[str], fails: bool = False) -> Part:
    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        events.append(f"{name} starts")
        if fails:
            raise RuntimeError(name)
        try:
            yield
            events.append(f"{name} stops")
        finally:
            events.append(f"{name} releases")

    async def run() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            events.append(f"{name} is cancelled")

    return Part(life=life, tasks=(run,), state={name: len(events)})


async def test_parts_stop_in_reverse_after_their_tasks():
    events: list[str] = []
    async with AsyncExitStack() as stack:
        assert (await start((part("a", events), part("b", events)), stack)).keys() == {"a", "b"}
        await anyio.lowlevel.checkpoint()
        assert events == ["a starts", "b starts"]
    assert sorted(events[2:4]) == ["a is cancelled", "b is cancelled"]
    assert events[4:] == ["b stops", "b releases", "a stops", "a releases"]


async def test_what_has_started_is_released_where_a_later_part_fails():
    events: list[str] = []
    with pytest.raises(RuntimeError, match="b"):
        async with AsyncExitStack() as stack:
            await start((part("a", events), part("b", events, fails=True)), stack)
    assert events == ["a starts", "b starts", "a releases"]


def test_two_parts_cannot_use_one_name():
    with pytest.raises(ValueError, match="the name journal"):
        joined([{"journal": 1}, {"catalog": 2}, {"journal": 3}])
