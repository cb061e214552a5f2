"""While large bodies are read, other requests have every second turn of the event loop, and half of its time."""

import asyncio
import threading
from collections.abc import Callable
from time import monotonic

import pytest

from postern.triggers.large_bodies import LargeBodies

pytestmark = pytest.mark.anyio


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


async def test_other_requests_are_served_between_two_large_bodies() -> None:
    events: list[str] = []
    bodies = LargeBodies()

    async def others() -> None:
        while True:
            events.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    reading = [bodies.read(working(0, lambda: events.append("body"))) for _ in range(20)]
    assert await asyncio.gather(*reading) == [7] * 20
    task.cancel()
    assert events.count("body") == 20
    assert "body body" not in " ".join(events)


async def test_other_requests_have_half_of_the_time() -> None:
    bodies, began = LargeBodies(), monotonic()
    ends: list[float] = []
    await asyncio.gather(*(bodies.read(working(0.004, lambda: ends.append(monotonic()))) for _ in range(5)))
    assert ends[-1] - began >= 0.004 * 9 * 0.9


async def test_a_body_that_is_not_valid_ends_its_turn_too() -> None:
    bodies = LargeBodies()

    def fails() -> None:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            await bodies.read(fails)


async def test_a_request_that_is_cancelled_takes_no_turn() -> None:
    bodies = LargeBodies()
    first = asyncio.create_task(bodies.read(lambda: 1))
    second = asyncio.create_task(bodies.read(lambda: 2))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == 1
    assert await bodies.read(lambda: 3) == 3


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
