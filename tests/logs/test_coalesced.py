"""Many events of a kind are one line now and one line later, and none is lost from the count."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from postern.logs import Coalesced

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Logger:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


def test_the_first_is_written_at_once_and_the_next_after_the_pause_has_the_number_of_those_between():
    now, logger = [0.0], Logger()
    gone = Coalesced("gone", seconds=10, clock=lambda: now[0])
    for at in (0.0, 1.0, 9.9, 10.0, 10.1, 30.0):
        now[0] = at
        gone.add(logger.info, at=at)
    assert logger.lines == [
        ("gone", {"at": 0.0, "times": 1}),
        ("gone", {"at": 10.0, "times": 3}),
        ("gone", {"at": 30.0, "times": 2}),
    ]


async def test_the_others_are_written_in_the_end_when_no_further_event_comes():
    logger = Logger()
    gone = Coalesced("gone", seconds=0.01)
    for n in range(5):
        gone.add(logger.info, n=n)
    async with asyncio.timeout(10):
        while sum(fields["times"] for _, fields in logger.lines) < 5:
            await asyncio.sleep(0.001)
    assert logger.lines[0] == ("gone", {"n": 0, "times": 1})
    assert logger.lines[-1][1]["n"] == 4
    gone.write()
    assert len(logger.lines) <= 5


def test_of_two_threads_at_the_same_time_one_writes_and_both_are_counted():
    """As the exporters of telemetry do: each has a thread, and the collector rejects what all of them send."""
    both = Barrier(2)

    class Now(float):
        def __ge__(self, other: float) -> bool:
            """Wait for the other thread between the look at the time and what follows from it."""
            with suppress(BrokenBarrierError):
                both.wait(0.1)
            return float(self) >= other

    now, logger = [Now(0.0)], Logger()
    gone = Coalesced("gone", seconds=10, clock=lambda: now[0])
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            threads.submit(gone.add, logger.info)
    assert logger.lines == [("gone", {"times": 1})]
    now[0] = Now(20.0)
    gone.add(logger.info)
    assert logger.lines[1:] == [("gone", {"times": 2})]
