"""HTTP/2 of a link without IO: its limits, and what bad peers send."""

import struct
from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame
from hypothesis import given
from hypothesis import strategies as st

from postern.gateway.frames import BURST_SECONDS, CONTROL_FRAMES_A_SECOND, FRAME_BYTES
from postern.gateway.link import (
    MOST_UNWRITTEN,
    STREAMS,
    WINDOW,
    Answered,
    Data,
    Ended,
    Event,
    Head,
    Link,
    LinkError,
    LinkFull,
    WasReset,
    WindowOpened,
)
from tests.table import table

CONNECT = ((":method", "CONNECT"), (":authority", "erp.corp:443"), ("postern-entry", "erp"))
OK = ((":status", "200"),)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, UNKNOWN = (*range(10), 0x77)
ACK = END_STREAM = 1
END_HEADERS = 4

EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


class Clock:
    """Seconds that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pair() -> tuple[Link, Link]:
    """The server's end and the agent's, after their settings crossed."""
    server, agent = Link(client_side=True), Link(client_side=False)
    pump(server, agent)
    return server, agent


def pump(one: Link, other: Link) -> tuple[list[Event], list[Event]]:
    """What both receive until neither has anything to say."""
    of_one: list[Event] = []
    of_other: list[Event] = []
    while one.unwritten or other.unwritten:
        of_other += other.receive(one.take())
        of_one += one.receive(other.take())
    return of_one, of_other


def opened() -> tuple[Link, Link, int]:
    """A pair with an answered tunnel."""
    server, agent = pair()
    stream = server.open(CONNECT)
    pump(server, agent)
    agent.answer(stream, OK)
    pump(server, agent)
    return server, agent, stream


def frame(kind: int, flags: int = 0, stream: int = 0, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def without_windows(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, WindowOpened)]


def test_a_tunnel_is_opened_answered_used_and_ended_in_both_directions():
    server, agent, stream = opened()
    server.send(stream, b"question")
    agent.send(stream, b"answer")
    agent.end(stream)
    of_server, of_agent = pump(server, agent)
    assert without_windows(of_agent) == [Data(stream, b"question")]
    assert without_windows(of_server) == [Data(stream, b"answer"), Ended(stream)]
    server.end(stream)
    assert pump(server, agent)[1] == [Ended(stream)]
    assert (server.streams, agent.streams) == (0, 0)


def test_the_agent_gets_the_head_as_the_server_sent_it():
    server, agent = pair()
    stream = server.open(CONNECT)
    assert pump(server, agent)[1] == [Head(stream, dict(CONNECT), ended=False)]


def test_the_first_stream_is_1():
    server, _ = pair()
    assert server.open(CONNECT) == 1


def test_a_refusal_ends_the_answer():
    server, agent = pair()
    stream = server.open(CONNECT)
    pump(server, agent)
    agent.answer(stream, ((":status", "403"), ("postern-reason", "target-not-allowed")), end=True)
    of_server, _ = pump(server, agent)
    fields = {":status": "403", "postern-reason": "target-not-allowed"}
    assert of_server == [Head(stream, fields, ended=True), Ended(stream)]


def test_a_stream_holds_at_most_one_window_of_bytes_that_were_not_consumed():
    server, agent, stream = opened()
    sent = fill(agent, server, stream)
    assert (sent, agent.room(stream)) == (WINDOW, 0)
    server.consumed(stream, WINDOW)
    assert WindowOpened(stream) in pump(server, agent)[1]
    assert agent.room(stream) > 0


def fill(sender: Link, receiver: Link, stream: int) -> int:
    """Bytes that the sender could send."""
    sent = 0
    while size := sender.room(stream):
        sender.send(stream, bytes(size))
        sent += size
        pump(sender, receiver)
    return sent


def test_unread_streams_do_not_stop_another():
    server, agent = pair()
    streams = [server.open(CONNECT) for _ in range(40)]
    pump(server, agent)
    for stream in streams:
        agent.answer(stream, OK)
        assert fill(agent, server, stream) == WINDOW
    last = server.open(CONNECT)
    pump(server, agent)
    assert agent.room(last) == FRAME_BYTES


def test_more_than_all_windows_of_a_link_can_be_sent_in_its_life():
    """A dropped stream gives back the connection's window."""
    server, agent = pair()
    for _ in range(20):
        stream = server.open(CONNECT)
        pump(server, agent)
        agent.answer(stream, OK)
        assert fill(agent, server, stream) == WINDOW
        server.reset(stream)
        assert WasReset(stream) in pump(server, agent)[1]


def test_a_link_has_256_streams_and_room_again_when_one_has_ended():
    server, agent = pair()
    streams = [server.open(CONNECT) for _ in range(STREAMS)]
    with pytest.raises(LinkFull):
        server.open(CONNECT)
    pump(server, agent)
    assert agent.streams == STREAMS
    server.reset(streams[0])
    server.open(CONNECT)
    pump(server, agent)
    assert agent.streams == STREAMS


def test_all_streams_of_a_link_may_be_reset_at_once():
    server, agent = pair()
    for stream in [server.open(CONNECT) for _ in range(STREAMS)]:
        server.reset(stream)
    pump(server, agent)
    assert agent.streams == 0


def test_data_in_small_frames_after_a_reset_is_no_flood():
    """Each is answered by a reset (RFC 9113, section 5.1)."""
    server, agent, stream = opened()
    for _ in range(3000):
        agent.send(stream, bytes(80))
    server.reset(stream)
    in_flight = agent.take()
    server.receive(in_flight)
    pump(server, agent)
    assert agent.streams == 0


def test_no_text_is_made_of_the_bytes_of_a_stream():
    """`h2` does it for each frame that comes, where nothing logs it."""
    data = DataFrame(1, data=b"secret")
    assert "6 bytes" in repr(data)
    assert b"secret".hex() not in repr(data)


def test_a_ping_is_answered_by_its_own_bytes():
    server, agent = pair()
    server.ping(b"12345678")
    assert pump(server, agent)[0] == [Answered(b"12345678")]


def test_a_closed_stream_cannot_be_used():
    server, agent, stream = opened()
    server.end(stream)
    for use in (lambda: server.end(stream), lambda: server.send(stream, b"x"), lambda: server.room(stream)):
        with pytest.raises(KeyError):
            use()
    agent.reset(stream)
    pump(server, agent)
    with pytest.raises(KeyError):
        server.reset(stream)
    server.consumed(stream, 5)


# what bad peers send


def to_agent(*frames: bytes) -> Callable[[], None]:
    def send() -> None:
        agent = Link(client_side=False)
        agent.receive(PREFACE + EMPTY_SETTINGS + b"".join(frames))

    return send


def to_server(*frames: bytes) -> Callable[[], None]:
    def send() -> None:
        server = Link(client_side=True)
        server.open(CONNECT)
        server.receive(EMPTY_SETTINGS + b"".join(frames))

    return send


def request(*fields: tuple[bytes, bytes]) -> bytes:
    """A head of literal fields without Huffman codes (RFC 7541, section 6.2.2), on stream 1."""
    literal = b"".join(b"\0" + _short(name) + _short(value) for name, value in fields)
    return frame(HEADERS, END_HEADERS, 1, literal)


def _short(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes((len(text),)) + text


MANY = CONTROL_FRAMES_A_SECOND * BURST_SECONDS + 50
TUNNEL = ((b":method", b"CONNECT"), (b":authority", b"erp.corp:443"))
BAD = {
    "no preface": (lambda: Link(client_side=False).receive(b"GET / HTTP/1.1\r\n\r\n"), "broke HTTP/2"),
    "a long frame's header alone": (to_agent(b"\xff\xff\xff\0\0\0\0\0\1"), "a frame of"),
    "a head in two frames": (to_agent(frame(HEADERS, 0, 1, b"\x82"), frame(CONTINUATION, 4, 1)), "more than one frame"),
    "a head of 17 KiB": (to_agent(frame(HEADERS, END_HEADERS, 1, bytes(17 * 1024))), "more than one frame"),
    "a continuation alone": (to_agent(frame(CONTINUATION, END_HEADERS, 1)), "more than one frame"),
    "a bomb of HPACK": (
        to_agent(
            frame(HEADERS, END_HEADERS, 1, b"\x40\1a" + b"\x7f\x81\x1e" + b"v" * 4000 + b"\xbe" * 60),
        ),
        "broke HTTP/2",
    ),
    "a field twice": (to_agent(request(*TUNNEL, (b"postern-entry", b"a"), (b"postern-entry", b"b"))), "twice"),
    "no authority": (to_agent(request((b":method", b"CONNECT"), (b":path", b"/"))), "broke HTTP/2"),
    "pings": (to_agent(frame(PING, 0, 0, bytes(8)) * MANY), "control frames"),
    "answers to no ping": (to_agent(frame(PING, ACK, 0, bytes(8)) * MANY), "control frames"),
    "settings": (to_agent(frame(SETTINGS) * 5), "too many settings"),
    "many settings": (to_agent(frame(SETTINGS, 0, 0, bytes((0, 99, 0, 0, 0, 1)) * 50)), "too many settings"),
    "acknowledged settings": (to_agent(frame(SETTINGS, ACK) * MANY), "control frames"),
    "priorities": (to_agent(frame(PRIORITY, 0, 3, b"\0\0\0\0\1") * MANY), "control frames"),
    "unknown frames": (to_agent(frame(UNKNOWN) * MANY), "control frames"),
    "window updates": (to_agent(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * MANY), "control frames"),
    "a window past 2^31": (to_agent(frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2), "broke HTTP/2"),
    "empty data": (to_agent(request(*TUNNEL), frame(DATA, 0, 1) * MANY), "control frames"),
    "rapid resets": (
        to_agent(
            *(
                request(*TUNNEL)[:5] + n.to_bytes(4) + request(*TUNNEL)[9:] + frame(RST, 0, n, bytes(4))
                for n in range(1, 2 * MANY, 2)
            )
        ),
        "control frames",
    ),
    "257 streams": (
        to_agent(
            *(request(*TUNNEL)[:5] + n.to_bytes(4) + request(*TUNNEL)[9:] for n in range(1, 2 * (STREAMS + 1), 2))
        ),
        "broke HTTP/2",
    ),
    "more than the window": (
        to_agent(request(*TUNNEL), frame(DATA, 0, 1, bytes(FRAME_BYTES)) * 4 + frame(DATA, 0, 1, b"x")),
        "broke HTTP/2",
    ),
    "data of no stream": (to_agent(frame(DATA, 0, 1, b"x")), "broke HTTP/2"),
    "GOAWAY": (to_agent(frame(GOAWAY, 0, 0, bytes(8))), "closed the link"),
    "a stream of an agent": (to_server(frame(HEADERS, END_HEADERS, 2, b"\x88")), "broke HTTP/2"),
    "a pushed stream": (to_server(frame(PUSH, END_HEADERS, 1, b"\0\0\0\2\x82")), "more than one frame"),
    "1xx": (to_server(frame(HEADERS, END_HEADERS, 1, b"\x08\x03100")), "Informational"),
    "trailers": (
        to_server(frame(HEADERS, END_HEADERS, 1, b"\x88"), frame(HEADERS, 5, 1, b"\0\1a\1b")),
        "TrailersReceived",
    ),
    "data before the answer": (to_server(frame(DATA, 0, 1, b"x")), "broke HTTP/2"),
}


@table("bad", list(BAD), ids=str)
def test_a_bad_peer_gets_one_kind_of_error(bad: str):
    send, reason = BAD[bad]
    with pytest.raises(LinkError) as raised:
        send()
    assert reason in raised.value.reason


def test_control_frames_at_the_allowed_rate_are_accepted_without_end():
    clock = Clock()
    agent = Link(client_side=False, clock=clock)
    agent.receive(PREFACE + EMPTY_SETTINGS)
    for _ in range(100):
        clock.now += 1
        agent.receive(frame(PING, 0, 0, bytes(8)) * CONTROL_FRAMES_A_SECOND)
        agent.take()


def test_a_peer_that_sends_but_does_not_read_gets_no_more_than_the_limit():
    clock = Clock()
    agent = Link(client_side=False, clock=clock)
    agent.receive(PREFACE + EMPTY_SETTINGS)

    def send() -> None:
        clock.now += 10
        agent.receive(frame(PING, 0, 0, bytes(8)) * 1000)

    with pytest.raises(LinkError, match="reads nothing"):
        list(iter(send, "never"))
    assert agent.unwritten < MOST_UNWRITTEN + 1000 * 17 + 1


def test_a_peer_cannot_make_the_table_of_heads_large():
    agent = Link(client_side=False)
    agent.receive(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 2**31)))
    agent.receive(request(*TUNNEL))
    agent.answer(1, (*OK, *((f"field-{n}", "v" * 100) for n in range(60))))
    assert agent._h2.encoder.header_table_size == 4096


# any bytes

FRAMES = st.builds(
    frame,
    st.sampled_from([*range(11), 0x77]),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 2**31 - 1]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"", bytes(4), bytes(8), b"\x88", request(*TUNNEL)[9:]])),
)
SENT = st.lists(st.one_of(FRAMES, FRAMES, FRAMES, st.just(request(*TUNNEL)), st.binary(max_size=30)), max_size=40)


@given(sent=SENT, client_side=st.booleans(), cuts=st.lists(st.integers(1, 50), max_size=20))
def test_fuzzed_frames_end_in_events_or_the_one_error(sent: list[bytes], client_side: bool, cuts: list[int]):
    end = Link(client_side=client_side)
    if client_side:
        end.open(CONNECT)
    try:
        for part in split((b"" if client_side else PREFACE) + EMPTY_SETTINGS + b"".join(sent), cuts):
            use(end, end.receive(part))
    except LinkError as error:
        assert error.reason
    assert end.unwritten <= MOST_UNWRITTEN
    assert end.streams <= STREAMS


def use(end: Link, events: list[Event]) -> None:
    """As a LinkIO does: all bytes are consumed, and each request is answered."""
    gone = {event.stream for event in events if isinstance(event, WasReset)}
    for event in events:
        match event:
            case Data(stream, data):
                end.consumed(stream, len(data))
            case Head(stream, fields) if ":method" in fields and stream not in gone:
                end.answer(stream, OK)
                end.send(stream, bytes(min(10, end.room(stream))))


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    parts = []
    for cut in cuts:
        parts.append(data[:cut])
        data = data[cut:]
    return [*parts, data]


@given(bodies=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8), step=st.integers(1, 700))
def test_any_split_of_the_bytes_gives_the_same_events(bodies: list[bytes], step: int):
    server, agent = pair()
    for body in bodies:
        stream = server.open(CONNECT)
        server.send(stream, body)
        server.end(stream)
    server.ping(b"12345678")
    data = server.take()
    whole: dict[int, bytes] = {}
    for event in [e for at in range(0, len(data), step) for e in agent.receive(data[at : at + step])]:
        match event:
            case Data(stream, part):
                whole[stream] += part
            case Head(stream):
                whole[stream] = b""
    assert list(whole.values()) == bodies
    assert pump(server, agent)[0][-1:] == [Answered(b"12345678")]
