"""The one timer of all runs."""

import asyncio
from contextvars import ContextVar

import pytest

from postern.runs.deadlines import Deadlines, Task

pytestmark = pytest.mark.anyio

USER: ContextVar[str] = ContextVar("USER", default="")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_timer_that_one_run_sets_for_all_is_not_in_its_context():
    """Else the log of another run that is abandoned, and its late reply, have that run's variables."""
    found: list[str] = []
    given_up = asyncio.Event()

    def abandon(task: Task) -> None:
        found.append(USER.get())
        given_up.set()

    deadlines = Deadlines(abandon, grace=0.0)

    async def swallows() -> None:
        USER.set("of the first run")
        task = deadlines.begin(0.0)
        while not given_up.is_set():
            try:
                await given_up.wait()
            except asyncio.CancelledError:
                continue
        deadlines.end(task)

    async with asyncio.timeout(10):
        await asyncio.create_task(swallows())
    assert found == [""]


async def test_what_is_left_of_a_limit_shrinks_and_is_nothing_after_its_end():
    deadlines = Deadlines(lambda task: None)
    task = deadlines.begin(100.0)
    assert 0 < deadlines.left(task) <= 100
    deadlines.end(task)
    assert deadlines.left(task) == 0
