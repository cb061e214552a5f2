"""Parts start in order, stop in reverse, and share no name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from structlog.testing import capture_logs

from postern.assembly.part import Part, joined, keep_running, start

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


async def test_a_task_that_fails_begins_again_and_the_others_go_on():
    begun: list[str] = []
    again = anyio.Event()

    async def fails() -> None:
        begun.append("fails")
        if len(begun) == 1:
            raise LookupError("secret")
        again.set()

    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_running, fails, 0.0)
            await again.wait()
    assert begun == ["fails", "fails"]
    (line,) = lines
    assert (line["event"], line["cause"], line["file"]) == ("background-task-failed", "LookupError", __file__)
    assert line["task"].endswith("fails")
    assert "secret" not in str(line)


async def test_the_tasks_of_a_server_begin_again(monkeypatch):
    """Otherwise one error would end the journal too, and recorded runs would wait for ever."""
    monkeypatch.setattr("postern.assembly.part.keep_running.__defaults__", (0.0,))
    begun = 0
    again = anyio.Event()

    async def fails() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise LookupError
        again.set()
        await anyio.sleep_forever()

    async with AsyncExitStack() as stack:
        await start((Part(tasks=(fails,)),), stack)
        await again.wait()


def test_two_parts_cannot_use_one_name():
    with pytest.raises(ValueError, match="the name journal"):
        joined([{"journal": 1}, {"catalog": 2}, {"journal": 3}])
