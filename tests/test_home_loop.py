"""Work is done in the loop that it belongs to, whichever loop wants it."""

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from postern.home_loop import HomeLoop

pytestmark = pytest.mark.anyio

USER: ContextVar[str] = ContextVar("USER", default="")


async def here() -> tuple[asyncio.AbstractEventLoop, str]:
    return asyncio.get_running_loop(), USER.get()


async def test_work_of_another_loop_is_done_at_home_in_its_own_context():
    home = HomeLoop()
    home.settle()

    async def elsewhere() -> tuple[asyncio.AbstractEventLoop, str]:
        USER.set("lisa")
        assert not home.is_here
        return await home.run(here())

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == (asyncio.get_running_loop(), "lisa")
    assert (home.is_here, await home.run(here())) == (True, (asyncio.get_running_loop(), ""))


async def test_until_it_is_settled_every_loop_is_home():
    found, _ = await asyncio.to_thread(asyncio.run, HomeLoop().run(here()))
    assert found is not asyncio.get_running_loop()


async def test_an_error_and_a_cancellation_pass_between_the_loops():
    home = HomeLoop()
    home.settle()
    began, ended = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise LookupError("x")

    async def elsewhere() -> None:
        with pytest.raises(LookupError):
            await home.run(fails())
        task = asyncio.ensure_future(home.run(waits()))
        await home.run(began.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await asyncio.to_thread(asyncio.run, elsewhere())
    async with asyncio.timeout(10):
        await ended.wait()


def test_a_home_that_is_closed_is_said_and_nothing_is_left_behind():
    home = HomeLoop()

    async def settle() -> None:
        home.settle()

    asyncio.run(settle())
    with pytest.raises(RuntimeError, match="the server has stopped"):
        asyncio.run(home.run(here()))


async def test_what_is_noted_in_another_loop_is_noted_at_home_before_its_thread_ends():
    """Lists that are taken and replaced there would lose it."""
    home = HomeLoop()
    noted: list[Any] = []
    home.soon(lambda: noted.append("not settled"))
    home.settle()
    home.soon(lambda: noted.append("at once"))
    assert noted == ["not settled", "at once"]

    def note(number: int) -> None:
        noted.append((number, asyncio.get_running_loop()))

    async def elsewhere() -> None:
        for number in range(3):
            home.soon(partial(note, number))

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert noted[2:] == [(number, asyncio.get_running_loop()) for number in range(3)]
