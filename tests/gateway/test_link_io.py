"""Links over messages: byte streams, flow control, pings, silence."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.gateway.link import UNWRITTEN, WINDOW, LinkError
from postern.gateway.link_io import PING_EVERY, SILENCE, WRITE_SECONDS
from postern.gateway.streams import LinkStream
from tests.gateway.ends import Ends, ends, settle
from tests.gateway.test_link import PING, frame

pytestmark = pytest.mark.anyio

CONNECT = ((":method", "CONNECT"), (":authority", "erp.corp:443"))


async def opened(both: Ends) -> LinkStream:
    stream = both.server.open(CONNECT)
    assert (await stream.reply())[":status"] == "200"
    return stream


async def read_all(stream: LinkStream) -> bytes:
    return b"".join([data async for data in stream])


async def test_a_stream_carries_bytes_both_ways_until_each_end_has_ended():
    async with ends() as both:
        stream = await opened(both)
        await stream.send(b"ping")
        assert await stream.receive() == b"ping"
        assert not stream.ended
        await stream.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        assert stream.ended
        await stream.aclose()
        await settle()
        assert (both.server.streams, both.agent.streams) == (0, 0)


async def test_a_reader_takes_as_many_bytes_as_it_wants():
    async with ends() as both:
        stream = await opened(both)
        await stream.send(b"abcdef")
        assert [await stream.receive(2), await stream.receive(2), await stream.receive(9)] == [b"ab", b"cd", b"ef"]


async def test_a_closed_end_breaks_the_other():
    broken = anyio.Event()

    async def serve(stream: LinkStream) -> None:
        await stream.answer(200)
        try:
            await stream.receive()
        except anyio.BrokenResourceError:
            broken.set()

    async with ends(serve) as both:
        stream = await opened(both)
        await stream.aclose()
        await broken.wait()
        for use in (stream.receive(), stream.send(b"x")):
            with pytest.raises(anyio.ClosedResourceError):
                await use


async def test_bytes_that_came_before_the_break_are_read():
    async def serve(stream: LinkStream) -> None:
        await stream.answer(200)
        await stream.send(b"last words")

    async with ends(serve) as both:
        stream = await opened(both)
        await settle()
        assert stream.ended
        assert await stream.receive() == b"last words"
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_a_fault_of_the_agent_is_answered():
    async def serve(stream: LinkStream) -> None:
        raise RuntimeError("a fault")

    async with ends(serve) as both:
        reply = await both.server.open(CONNECT).reply()
        assert reply[":status"] == "500"


async def test_bytes_before_the_answer_or_a_second_one_are_faults_of_the_stream_alone():
    """The peer's parser would end the link for them (RFC 9113, section 8.1)."""
    found: list[str] = []

    async def serve(stream: LinkStream) -> None:
        for use in (lambda: stream.send(b"x"), stream.send_eof):
            with pytest.raises(RuntimeError) as raised:
                await use()
            found.append(str(raised.value))
        await stream.answer(200)
        with pytest.raises(RuntimeError) as raised:
            await stream.answer(200)
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"x")

    async with ends(serve) as both:
        stream = await opened(both)
        with pytest.raises(RuntimeError):
            await stream.answer(200)
        await settle()
        assert found == ["the head of the answer comes first"] * 2
        assert (both.server.ended, both.agent.ended) == (None, None)


async def test_a_fault_after_the_answer_breaks_the_stream_alone():
    async def serve(stream: LinkStream) -> None:
        await stream.answer(200)
        raise RuntimeError("a fault")

    async with ends(serve) as both:
        stream = await opened(both)
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        await opened(both)
        assert both.server.ended is None


async def test_a_slow_reader_stops_its_sender_and_no_other():
    sent = 0

    async def serve(stream: LinkStream) -> None:
        nonlocal sent
        await stream.answer(200)
        if stream.request[":authority"] != "endless:443":
            await echo_once(stream)
            return
        while True:
            await stream.send(bytes(10_000))
            sent += 10_000

    async with ends(serve) as both:
        endless = both.server.open(((":method", "CONNECT"), (":authority", "endless:443")))
        await settle()
        assert WINDOW - 20_000 < sent <= WINDOW
        other = await opened(both)
        await other.send(b"hello")
        assert await other.receive() == b"hello"
        taken = len(await endless.receive(200_000))
        await settle()
        assert sent > taken


async def echo_once(stream: LinkStream) -> None:
    await stream.send(await stream.receive())
    await stream.send_eof()
    await anyio.sleep_forever()


async def test_a_peer_that_reads_nothing_stops_senders_at_the_unwritten_bytes():
    async with ends() as both:
        streams = [await opened(both) for _ in range(8)]
        both.server_wire.held = True
        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(stream.send, bytes(WINDOW))
            await settle()
            assert both.server.link.unwritten <= UNWRITTEN + 64 * 1024 + 9
            group.cancel_scope.cancel()


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=12), st.integers(1, 3000))
async def test_any_bytes_over_any_messages_arrive_in_order(sent: list[bytes], step: int):
    async with ends() as both:
        both.server_wire.split = both.agent_wire.split = lambda message: [
            message[at : at + step] for at in range(0, len(message), step)
        ]
        stream = await opened(both)
        for data in sent:
            await stream.send(data)
        await stream.send_eof()
        assert await read_all(stream) == b"".join(sent)


async def test_much_more_than_a_window_arrives_over_streams_that_are_read():
    size = 5 * WINDOW + 17
    async with ends() as both:
        streams = [await opened(both) for _ in range(5)]
        found: list[int] = []

        async def read(stream: LinkStream) -> None:
            found.append(len(await read_all(stream)))

        async def write(stream: LinkStream) -> None:
            await stream.send(bytes(size))
            await stream.send_eof()

        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(read, stream)
                group.start_soon(write, stream)
        assert found == [size] * 5


async def test_pings_measure_the_round_trip():
    async with ends() as both:
        await settle()
        assert both.server.answering
        assert both.server.round_trip == 0.0
        await both.time.advance(3 * PING_EVERY)
        assert both.server.ended is None


async def test_a_stopped_peer_is_not_answering_and_then_gone_after_nine_seconds():
    async with ends() as both:
        await both.time.advance(4)
        stream = await opened(both)
        both.agent_wire.held = True
        await both.time.advance(2 * PING_EVERY)
        assert not both.server.answering
        assert both.server.ended is None
        await both.time.advance(SILENCE + 0.2 - 2 * PING_EVERY)
        assert both.server.ended == "silent for 9 s"
        with pytest.raises(anyio.BrokenResourceError) as raised:
            await stream.receive()
        assert str(raised.value.__cause__) == "silent for 9 s"


async def test_a_peer_that_sends_and_reads_nothing_is_given_up():
    async with ends() as both:
        stream = await opened(both)
        both.agent.stop("the test is the peer from here on")
        await settle()
        both.server_wire.stuck = True
        await stream.send(b"never read")
        for _ in range(int(WRITE_SECONDS)):
            await both.agent_wire.sends.send(frame(PING, 0, 0, bytes(8)))
            await both.time.advance(1)
        assert both.server.ended is None
        await both.time.advance(SILENCE)
        assert both.server.ended == "the peer reads nothing"


async def test_a_process_that_did_nothing_for_long_reads_before_it_calls_its_peer_silent():
    async with ends() as both:
        await settle()
        both.time.now += 60
        await both.time.advance(0)
        await both.time.advance(1)
        assert (both.server.ended, both.agent.ended) == (None, None)


async def test_a_closed_connection_breaks_all_streams_at_once():
    async with ends() as both:
        streams = [await opened(both) for _ in range(3)]
        both.agent_wire.close()
        await settle()
        assert both.server.ended == "the connection was closed"
        for stream in streams:
            assert stream.ended
            with pytest.raises(anyio.BrokenResourceError):
                await stream.send(b"x")
        with pytest.raises(LinkError):
            both.server.open(CONNECT)


async def test_rubbish_ends_the_link_with_its_reason():
    async with ends() as both:
        waiting = both.server.open(CONNECT)
        await both.agent_wire.sends.send(b"rubbish that is no frame at all")
        await settle()
        assert both.server.ended is not None
        assert both.server.ended.startswith("the peer")
        with pytest.raises(anyio.BrokenResourceError):
            await waiting.reply()
