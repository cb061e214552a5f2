"""Calls of `asyncio.to_thread`: those of runs have shares, and the server's own never wait for them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from postern.runs.executor import SharedExecutor

pytestmark = pytest.mark.anyio

WHO: ContextVar[tuple[str, str] | None] = ContextVar("who", default=None)


@pytest.fixture
async def executor() -> AsyncIterator[SharedExecutor]:
    executor = SharedExecutor(WHO.get, share=4, most=8)
    asyncio.get_running_loop().set_default_executor(executor)
    yield executor
    executor.shutdown(wait=False, cancel_futures=True)


async def call(workflow: str, caller: str, function: Any, *args: Any) -> Any:
    if workflow:
        WHO.set((workflow, caller))
    return await asyncio.to_thread(function, *args)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slow_calls_of_one_caller_delay_neither_others_nor_the_server_itself(executor: SharedExecutor):
    let_go = threading.Event()
    slow = [asyncio.create_task(call("slow", "greedy", let_go.wait, 10)) for _ in range(80)]
    await turns()
    for workflow, caller in (("slow", "another"), ("quick", "greedy"), ("", "")):
        assert await asyncio.create_task(call(workflow, caller, lambda: "done")) == "done"
    let_go.set()
    assert await asyncio.gather(*slow) == [True] * 80


async def test_a_call_that_is_cancelled_while_it_waits_never_begins(executor: SharedExecutor):
    let_go = threading.Event()
    began: list[int] = []
    slow = [asyncio.create_task(call("slow", "a", let_go.wait, 10)) for _ in range(3)]
    await turns()
    waiting = asyncio.create_task(call("slow", "a", began.append, 1))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    let_go.set()
    await asyncio.gather(*slow)
    assert await asyncio.create_task(call("slow", "a", lambda: 7)) == 7
    assert began == []


async def test_what_a_call_raises_is_raised_and_its_share_is_free_again(executor: SharedExecutor):
    def fails() -> None:
        raise KeyError("x")

    for _ in range(10):
        with pytest.raises(KeyError):
            await asyncio.create_task(call("slow", "a", fails))


async def test_a_call_that_is_cancelled_while_it_waits_holds_nothing(executor: SharedExecutor):
    """Although the calls before it never end."""
    let_go = threading.Event()
    slow = [asyncio.create_task(call("slow", "a", let_go.wait, 10)) for _ in range(3)]
    await turns()
    waiting = [asyncio.create_task(call("slow", "a", bytearray, 10)) for _ in range(5)]
    await turns()
    assert len(executor._calls) == 5
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    assert (executor._calls, dict(executor._turns.of_workflow)) == ({}, {})
    let_go.set()
    await asyncio.gather(*slow)
