"""Many streams that do anything in any order, at both ends: only errors of streams are seen, and nothing is left."""

import random
from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.gateway.link import LinkError
from postern.gateway.streams import LinkStream
from tests.examples import example_count
from tests.gateway.ends import Ends, ends

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.soak]

ERRORS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
STEPS = 12


async def act(stream: LinkStream, chance: random.Random, sizes: Callable[[], int]) -> None:
    """Some steps on one end of a stream. A step that would wait for the other end is given up after some turns."""
    for _ in range(chance.randrange(STEPS)):
        step = chance.choice(["send", "receive", "receive", "wait", "eof", "close"])
        try:
            with anyio.move_on_after(chance.choice([0, 0.001, 0.01])):
                if step == "send":
                    await stream.send(bytes(sizes()))
                elif step == "receive":
                    await stream.receive(sizes() or 1)
                elif step == "eof":
                    await stream.send_eof()
                elif step == "close":
                    await stream.aclose()
                else:
                    await checkpoint()
        except ERRORS:
            pass
    await stream.aclose()


@settings(max_examples=example_count(30))
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), cut=st.booleans(), largest=st.sampled_from([10, 70_000]))
async def test_any_steps_end_in_the_errors_of_streams_and_leave_nothing(seed: int, count: int, cut: bool, largest: int):
    chance = random.Random(seed)

    def sizes() -> int:
        return chance.randrange(largest) if chance.random() < 0.9 else 4 * largest

    async def serve(stream: LinkStream) -> None:
        with suppress(*ERRORS):
            if chance.random() < 0.9:
                await stream.answer(chance.choice([200, 200, 403]), end=chance.random() < 0.2)
                await act(stream, chance, sizes)

    async with ends(serve) as both:
        both.server_wire.split = both.agent_wire.split = lambda message: _split(message, chance)
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(use, both, chance, sizes)
            if cut:
                await anyio.sleep(0.002)
                both.agent_wire.close()
        if not cut:
            with anyio.fail_after(10):
                while both.server.streams or both.agent.streams:
                    await anyio.sleep(0.01)
            assert (both.server.ended, both.agent.ended) == (None, None)
        assert both.server._streams == {}


async def use(both: Ends, chance: random.Random, sizes: Callable[[], int]) -> None:
    """One tunnel from its beginning to its end."""
    with suppress(LinkError):
        stream = both.server.open(((":method", "CONNECT"), (":authority", "a:1")))
        with suppress(*ERRORS), anyio.move_on_after(0.01):
            await stream.reply()
        await act(stream, chance, sizes)


def _split(message: bytes, chance: random.Random) -> list[bytes]:
    if chance.random() < 0.7:
        return [message]
    at = chance.randrange(len(message) + 1)
    return [message[:at], message[at:]]
