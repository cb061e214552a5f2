"""Many events of a kind are one line now and one line later, and none is lost from the count."""

import asyncio
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
