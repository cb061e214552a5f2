"""While large bodies are read, other requests have every second turn of the event loop, and half of its time."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import pytest

from postern.errors import Problem
from postern.journal.shares import ANONYMOUS
from postern.triggers.large_bodies import LargeBodies

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def working(seconds: float, done: Callable[[], object]) -> Callable[[], int]:
    def work() -> int:
        until = monotonic() + seconds
        while monotonic() < until:
            pass
        done()
        return 7

    return work


def in_turn(bodies: LargeBodies, read: Callable[[], T], who: str = "a", workflow: str = "w", size: int = 5000) -> Any:
    return bodies.read(read, workflow, ("tenant", who), size)


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_other_requests_are_served_between_two_large_bodies() -> None:
    events: list[str] = []
    bodies = LargeBodies()

    async def others() -> None:
        while True:
            events.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    reading = [in_turn(bodies, working(0, lambda: events.append("body"))) for _ in range(20)]
    assert await asyncio.gather(*reading) == [7] * 20
    task.cancel()
    assert events.count("body") == 20
    assert "body body" not in " ".join(events)


async def test_other_requests_have_half_of_the_time() -> None:
    bodies, began = LargeBodies(), monotonic()
    ends: list[float] = []
    await asyncio.gather(*(in_turn(bodies, working(0.004, lambda: ends.append(monotonic()))) for _ in range(5)))
    assert ends[-1] - began >= 0.004 * 9 * 0.9


async def test_a_body_that_is_not_valid_ends_its_turn_too() -> None:
    bodies = LargeBodies()

    def fails() -> None:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            await in_turn(bodies, fails)


async def test_a_request_that_is_cancelled_takes_no_turn() -> None:
    bodies = LargeBodies()
    first = asyncio.create_task(in_turn(bodies, lambda: 1))
    second = asyncio.create_task(in_turn(bodies, lambda: 2))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == 1
    assert await in_turn(bodies, lambda: 3) == 3


async def test_threads_read_one_body_at_a_time() -> None:
    bodies = LargeBodies()
    inside, most = [0], [0]
    lock = threading.Lock()

    def read() -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        working(0.001, lambda: None)()
        with lock:
            inside[0] -= 1

    await asyncio.gather(*(asyncio.to_thread(bodies.in_thread(read)) for _ in range(8)))
    assert most[0] == 1


async def test_many_bodies_of_one_caller_or_one_workflow_delay_another_by_one_turn():
    bodies, order = LargeBodies(), list[str]()
    many = [(who, "busy") for who in "abab" * 20]
    reading = [
        in_turn(bodies, partial(order.append, who + workflow), who, workflow)
        for who, workflow in [*many, ("c", "busy"), ("a", "quiet")]
    ]
    await asyncio.gather(*reading)
    assert order.index("cbusy") <= 6
    assert order.index("aquiet") <= 3
    assert len(order) == len(reading)


async def test_what_waits_is_bounded_and_no_caller_takes_all_of_it():
    bodies = LargeBodies(most=100)
    reading: list[asyncio.Task[int]] = []

    async def fill(who: str) -> None:
        reading.extend(asyncio.create_task(in_turn(bodies, lambda: 1, who, size=10)) for _ in range(100))
        await turns()

    holding = asyncio.create_task(in_turn(bodies, lambda: 0, "first"))
    for who in "abc":
        await fill(who)
    found = await asyncio.gather(*reading, return_exceptions=True)
    refused = [each for each in found if isinstance(each, Problem)]
    assert {each.code for each in refused} == {"too-many-runs"}
    by_caller = [sum(each == 1 for each in found[place : place + 100]) for place in (0, 100, 200)]
    assert all(by_caller)
    assert by_caller[0] == 6
    await holding
    with_room = [in_turn(bodies, lambda: 2, "a", size=10) for _ in range(5)]
    assert await asyncio.gather(*with_room) == [2] * 5, "all that waited has been given back"


async def test_anonymous_callers_leave_half_to_the_others():
    bodies = LargeBodies(most=100)
    crowd = [bodies.read(lambda: 1, "w", (ANONYMOUS, str(number)), 10) for number in range(50)]
    found = await asyncio.gather(*crowd, in_turn(bodies, lambda: 2, size=10), return_exceptions=True)
    assert found.count(1) == 6  # one that did not wait, and half of what may wait
    assert found[-1] == 2


@pytest.mark.parametrize("at", range(6))
async def test_a_turn_is_given_on_whenever_its_request_is_cancelled(at: int):
    bodies = LargeBodies()
    first = asyncio.create_task(in_turn(bodies, lambda: 1))
    second = asyncio.create_task(in_turn(bodies, lambda: 2))
    third = asyncio.create_task(in_turn(bodies, lambda: 3))
    for _ in range(at):
        await asyncio.sleep(0)
    second.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([first, second, third])
        assert third.result() == 3
        assert await in_turn(bodies, lambda: 4) == 4
