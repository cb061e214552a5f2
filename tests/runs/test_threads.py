"""Threads of `def` code: each workflow has a share, and what did not begin says so."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.access import ANYONE, Caller
from postern.runs.pace import FIRST
from postern.runs.threads import SHARE, NotBegun, Threads, holder_name

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


@pytest.mark.parametrize(
    ("caller", "address", "name"),
    [
        (ANYONE, "192.0.2.1", "192.0.2.1"),
        (ANYONE, "2001:db8:1:2::3", "2001:db8:1:2::/64"),
        (ANYONE, "2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        (Caller("user", "ada", "tenant"), "2001:db8:1:2::3", "ada"),
    ],
)
async def test_a_client_is_one_caller_whatever_address_of_its_network_it_uses(caller: Caller, address: str, name: str):
    assert holder_name(caller, address) == name


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


async def test_the_calls_of_one_caller_leave_threads_to_the_next_caller_and_to_other_workflows(let_go):
    threads = Threads("test", share=4, most=8)
    slow = [asyncio.create_task(threads.run("slow", held(let_go), "greedy")) for _ in range(80)]
    await turns()
    assert (threads.busy, threads.waiting) == ({"slow": 3}, {"slow": 77})
    assert await threads.run("slow", lambda: "mine", "another") == "mine"
    assert await threads.run("quick", lambda: "quick", "greedy") == "quick"
    let_go.set()
    await asyncio.gather(*slow)
    assert (threads.busy, threads.waiting) == ({}, {})
    threads.close()


async def test_what_waits_longest_does_not_get_all_that_becomes_free(let_go):
    threads = Threads("test", share=1, most=1)
    first = asyncio.create_task(threads.run("slow", held(let_go), "greedy"))
    await turns()
    order: list[str] = []
    calls = [("slow", "greedy")] * 20 + [("slow", "another"), ("quick", "third")]
    waiting = [asyncio.create_task(threads.run(*_noted(order, *each))) for each in calls]
    await turns()
    let_go.set()
    await asyncio.gather(first, *waiting)
    assert order[:3] == ["slow greedy", "quick third", "slow another"]
    threads.close()


async def test_a_call_whose_thread_has_not_got_to_it_never_begins_and_says_so():
    """The thread is its own already, but the interpreter is busy with others."""

    class Pool:
        def submit(self, function: Any, *arguments: Any) -> Future[Any]:
            self.later = lambda: function(*arguments)
            self.future: Future[Any] = Future()
            self.future.set_running_or_notify_cancel()  # nothing can cancel it any more
            return self.future

    threads, pool = Threads("test", share=2, most=2), Pool()
    threads.close()
    threads._pool = pool  # type: ignore[assignment]
    began: list[int] = []
    call = asyncio.create_task(threads.run("a", lambda: began.append(1)))
    await turns()
    call.cancel()
    with pytest.raises(NotBegun):
        await call
    assert threads.busy == {"a": 1}  # until the thread has got to it
    with pytest.raises(NotBegun) as caught:
        pool.later()
    pool.future.set_exception(caught.value)
    await turns()
    assert (began, threads.busy, threads.abandoned) == ([], {}, {})


async def test_threads_that_hold_the_interpreter_are_few_and_those_that_wait_are_many(let_go, monkeypatch):
    monkeypatch.setattr(Threads, "_look_later", lambda threads: None)  # it looks when this test says so
    threads = Threads("test")
    calls = [asyncio.create_task(threads.run("slow", held(let_go), str(number))) for number in range(80)]
    await turns()
    assert threads.busy == {"slow": FIRST}  # not all at once: they may compute
    for _ in range(4):
        threads._look(monotonic())
    assert threads.busy == {"slow": SHARE}
    with capture_logs() as logs:
        threads._warned.clear()
        threads._look(monotonic() - 10)
    assert [(line["workflow"], line["at_once"]) for line in logs] == [("slow", 1)]
    assert not threads._shares.fits("slow", "another")
    assert threads._shares.fits("quick", "another")
    let_go.set()
    await asyncio.gather(*calls)
    threads.close()


def _noted(order: list[str], name: str, caller: str) -> tuple[str, Callable[[], None], str]:
    return name, lambda: order.append(f"{name} {caller}"), caller


async def test_the_operator_is_warned_once_that_threads_are_exhausted(let_go):
    threads = Threads("test", share=1, most=2)
    with capture_logs() as logs:
        calls = [asyncio.create_task(threads.run("a", held(let_go), "ada")) for _ in range(3)]
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
    assert (line["held_by_workflow"], line["held_by_caller"], line["held_threads"]) == ("a", "ada", 1)
    threads.close()


async def test_the_warning_names_who_holds_the_threads_not_only_who_waits(let_go):
    threads = Threads("test", share=2, most=1)
    slow = asyncio.create_task(threads.run("slow", held(let_go), "greedy"))
    await turns()
    with capture_logs() as logs:
        quick = asyncio.create_task(threads.run("quick", lambda: None, "ada"))
        await turns()
    let_go.set()
    await asyncio.gather(quick, slow)
    [line] = logs
    assert (line["workflow"], line["held_by_workflow"], line["held_by_caller"]) == ("quick", "slow", "greedy")
    threads.close()
