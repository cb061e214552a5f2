"""The journal's ticks: they come while something waits, and an idle journal does not wake."""

import asyncio
from contextvars import ContextVar

import pytest

from postern.journal.ticks import Ticks

pytestmark = pytest.mark.anyio

MARK: ContextVar[str] = ContextVar("mark", default="")


class Counted:
    """A function that is needed so many more times."""

    def __init__(self, *, needed: int) -> None:
        self.needed = needed
        self.calls = 0
        self.marks: set[str] = set()

    def __call__(self) -> bool:
        self.calls += 1
        self.needed -= 1
        self.marks.add(MARK.get())
        return self.needed > 0


async def rest(ticks: Ticks) -> None:
    """Until no call is due."""
    while ticks.timer is not None:
        await asyncio.sleep(0)


async def test_the_function_is_called_until_nothing_needs_it():
    ticks = Ticks(0.0, counted := Counted(needed=3))
    ticks.start()
    await rest(ticks)
    assert counted.calls == 3
    ticks.need()
    ticks.need()
    await rest(ticks)
    assert counted.calls == 4


async def test_it_is_not_called_before_the_start_or_after_the_stop():
    ticks = Ticks(0.0, counted := Counted(needed=3))
    ticks.need()
    assert ticks.timer is None
    ticks.start()
    ticks.stop()
    ticks.need()
    await asyncio.sleep(0.01)
    assert counted.calls == 0


async def test_it_is_called_in_no_request_s_context():
    ticks = Ticks(0.0, counted := Counted(needed=2))
    ticks.start()
    token = MARK.set("a request")
    ticks.need()
    await rest(ticks)
    MARK.reset(token)
    assert counted.marks == {""}


async def test_an_error_ends_none_of_the_further_calls():
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    calls = iter([True, False])

    def fails_once() -> bool:
        if next(calls):
            raise RuntimeError
        return False

    ticks = Ticks(0.0, fails_once)
    ticks.start()
    await rest(ticks)
    assert next(calls, None) is None
