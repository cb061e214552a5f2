"""Work is done once for all who wait for it, and none of them can stop it."""

import asyncio

import pytest

from postern.connections.grants.sharing import OncePerKey, StillAtWork

pytestmark = pytest.mark.anyio


class Work:
    def __init__(self) -> None:
        self.shared: OncePerKey[str, int] = OncePerKey(30.0, lambda: 0.0)
        self.gate = asyncio.Event()
        self.begun = 0

    async def do(self) -> int:
        self.begun += 1
        await self.gate.wait()
        return self.begun


@pytest.fixture
def work() -> Work:
    return Work()


async def test_it_is_done_once_for_a_key_and_again_afterwards(work: Work):
    callers = [asyncio.create_task(work.shared.join("a", work.do)) for _ in range(5)]
    await asyncio.sleep(0)
    assert ("a" in work.shared, "b" in work.shared) == (True, False)
    work.gate.set()
    assert await asyncio.gather(*callers) == [1] * 5
    assert "a" not in work.shared
    assert await work.shared.join("a", work.do) == 2


async def test_who_waits_no_longer_hears_that_it_goes_on(work: Work):
    work.shared = OncePerKey(0.0, lambda: 0.0)
    for _ in range(2):
        with pytest.raises(StillAtWork):
            await work.shared.join("a", work.do)
    work.gate.set()
    await work.shared.aclose(5.0)
    assert work.begun == 1


async def test_an_error_that_nobody_waits_for_is_no_warning(work: Work):
    async def fail() -> int:
        await work.gate.wait()
        raise ValueError("lost")

    caller = asyncio.create_task(work.shared.join("a", fail))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    work.gate.set()
    await work.shared.aclose(5.0)
    assert "a" not in work.shared


async def test_a_close_cancels_what_takes_too_long(work: Work):
    caller = asyncio.create_task(work.shared.join("a", work.do))
    await asyncio.sleep(0)
    await work.shared.aclose(0.0)
    with pytest.raises(StillAtWork):
        await caller
    await work.shared.aclose(0.0)
