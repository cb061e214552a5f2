"""Threads of `def` code: each workflow has a share, and what did not begin says so."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.runs.threads import NotBegun, Threads

pytestmark = pytest.mark.anyio


@pytest.fixture
async def let_go() -> AsyncIterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def held(let_go: threading.Event, value: Any = None) -> Callable[[], Any]:
    def call() -> Any:
        let_go.wait(10)
        return value

    return call


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_workflow_takes_its_share_and_leaves_the_rest_to_others(let_go):
    threads = Threads("test", share=2, most=3)
    waiting = [asyncio.create_task(threads.run("bad", held(let_go, number))) for number in range(3)]
    await turns()
    assert await threads.run("good", lambda: "done") == "done"
    let_go.set()
    assert await asyncio.gather(*waiting) == [0, 1, 2]
    threads.close()


async def test_a_call_that_is_cancelled_before_it_began_says_so_and_never_begins(let_go):
    threads = Threads("test", share=1, most=1)
    first = asyncio.create_task(threads.run("a", held(let_go)))
    await turns()
    began: list[int] = []
    second = asyncio.create_task(threads.run("a", lambda: began.append(1)))
    third = asyncio.create_task(threads.run("b", lambda: began.append(2)))
    await turns()
    second.cancel()
    with pytest.raises(NotBegun):
        await second
    let_go.set()
    await asyncio.gather(first, third)
    assert began == [2]
    threads.close()


async def test_an_abandoned_thread_is_counted_until_its_end_and_keeps_its_share(let_go):
    threads = Threads("test", share=1, most=2)
    stuck = asyncio.create_task(threads.run("a", held(let_go)))
    await turns()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert threads.abandoned == {"a": 1}
    assert threads.exhausted("a")
    assert not threads.exhausted("b")
    assert await threads.run("b", lambda: 1) == 1
    let_go.set()
    async with asyncio.timeout(10):
        while threads.abandoned:
            await asyncio.sleep(0)
    assert not threads.exhausted("a")
    assert await threads.run("a", lambda: 2) == 2
    threads.close()


async def test_the_operator_is_warned_once_that_threads_are_exhausted(let_go):
    threads = Threads("test", share=1, most=2)
    with capture_logs() as logs:
        calls = [asyncio.create_task(threads.run("a", held(let_go))) for _ in range(3)]
        await turns()
        let_go.set()
        await asyncio.gather(*calls)
    [line] = logs
    assert (line["event"], line["log_level"], line["workflow"], line["threads"]) == (
        "threads-exhausted",
        "warning",
        "a",
        1,
    )
    threads.close()
