"""HTTP/2 (RFC 9113) for a link, without IO: bytes in, bytes out, events. Both ends use it."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from h2 import events as h2_events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame

from postern.gateway.frames import FRAME_BYTES, HEAD_BYTES, ControlRate, FrameCounter, FrameLimit

STREAMS = 256
WINDOW = 256 * 1024
"""Bytes that a peer may send on a stream before they are consumed."""

UNWRITTEN = 256 * 1024
"""Bytes that wait to be written; streams send no more until some were."""

MOST_UNWRITTEN = 2 * UNWRITTEN
"""With the answers to a peer's control frames. A peer that reads nothing, but sends, gets no more."""

LINK_WINDOW = 2**31 - 1
"""The link itself has no limit: streams that are not read would block the others."""

FIRST_WINDOW = 65_535
"""The window of a connection at its start (RFC 9113, section 6.9.2)."""

HEADER_TABLE = 4096
"""Bytes that a peer can make our HPACK encoder keep, whatever it sets."""


def _size_alone(frame: DataFrame) -> str:
    """`h2` makes a text of each frame, for a log that is off. The hexadecimal text of data took an eighth of the
    processor time of a download."""
    return f"{len(frame.data)} bytes"


DataFrame._body_repr = _size_alone  # type: ignore[assignment, method-assign]


class LinkError(Exception):
    """The link is unusable, by whatever the peer did. `reason` is one sentence part, without data of the peer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LinkFull(Exception):
    """The link has as many streams as it may have."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or an answer. `ended`: nothing follows it."""

    stream: int
    fields: Mapping[str, str]
    ended: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream, at most `WINDOW` that were not consumed."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer sends no more on this stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class WasReset:
    """The peer broke this stream off."""

    stream: int


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """More may be sent on this stream; 0: on any."""

    stream: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The peer answered a ping."""

    data: bytes


Event = Head | Data | Ended | WasReset | WindowOpened | Answered

IGNORED = (
    h2_events.SettingsAcknowledged,
    h2_events.PingReceived,
    h2_events.PriorityUpdated,
    h2_events.UnknownFrameReceived,
    h2_events.AlternativeServiceAvailable,
)


@dataclass(slots=True)
class _Stream:
    """What is still open of a stream, and the bytes consumed since the window was opened."""

    sends: bool = True
    receives: bool = True
    consumed: int = 0


class Link:
    """One end of a link. The client side opens streams, the other answers them. Its methods raise LinkError for what
    the peer did, KeyError for a stream that is closed, never anything of `h2`."""

    def __init__(self, *, client_side: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._client_side = client_side
        self._h2 = H2Connection(H2Configuration(client_side=client_side, header_encoding=None))
        self._h2.local_settings = Settings(client=client_side, initial_values=_settings(client_side=client_side))
        self._h2.max_inbound_frame_size = FRAME_BYTES
        self._h2.decoder.max_header_list_size = HEAD_BYTES
        self._rate = ControlRate(clock)
        self._counter = FrameCounter(self._rate, preface=not client_side)
        self._streams: dict[int, _Stream] = {}
        self._out: list[bytes] = []
        self._unacknowledged = 0
        self.unwritten = 0
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(LINK_WINDOW - FIRST_WINDOW)
        self._sent()

    # bytes

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes of the peer say. Raises LinkError."""
        try:
            self._counter.count(data)
            received = self._h2.receive_data(data)
        except FrameLimit as error:
            raise LinkError(f"the peer sent {error}") from None
        except H2Error as error:
            raise LinkError(f"the peer broke HTTP/2 ({type(error).__name__})") from None
        found: list[Event] = []
        for event in received:
            found.extend(self._read(event))
        self._collect()
        if self.unwritten > MOST_UNWRITTEN:
            raise LinkError("the peer reads nothing")
        return found

    def take(self) -> bytes:
        """All bytes that wait to be written."""
        data = b"".join(self._out)
        self._out.clear()
        self.unwritten = 0
        return data

    # streams

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    def open(self, head: Iterable[tuple[str, str]]) -> int:
        """A new stream with this request head, pseudo header fields first. Raises LinkFull."""
        if len(self._streams) >= min(STREAMS, self._h2.remote_settings.max_concurrent_streams):
            raise LinkFull
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, list(head))
        except H2Error as error:
            raise LinkError(f"no stream can be opened ({type(error).__name__})") from error
        self._streams[stream] = _Stream()
        self._sent()
        return stream

    def answer(self, stream: int, head: Iterable[tuple[str, str]], *, end: bool = False) -> None:
        """The answer's head, `:status` first."""
        state = self._sending(stream)
        self._h2.send_headers(stream, list(head), end_stream=end)
        if end:
            self._ended(stream, state)
        self._sent()

    def room(self, stream: int) -> int:
        """How many bytes may be sent on this stream now; 0 where its window is used up."""
        self._sending(stream)
        return max(0, min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, FRAME_BYTES))

    def send(self, stream: int, data: bytes | memoryview) -> None:
        """At most `room` bytes."""
        self._sending(stream)
        self._h2.send_data(stream, data)
        self._sent()

    def end(self, stream: int) -> None:
        """Nothing more is sent on this stream; the peer may go on."""
        state = self._sending(stream)
        self._h2.end_stream(stream)
        self._ended(stream, state)
        self._sent()

    def reset(self, stream: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Break a stream off in both directions."""
        del self._streams[stream]
        self._h2.reset_stream(stream, code)
        self._sent()

    def consumed(self, stream: int, size: int) -> None:
        """So many bytes of a stream were taken: the peer may send as many more. Ended streams need none."""
        state = self._streams.get(stream)
        if state is None or not state.receives:
            return
        state.consumed += size
        if state.consumed >= WINDOW // 4:
            self._h2.increment_flow_control_window(state.consumed, stream)
            state.consumed = 0
            self._collect()

    def ping(self, data: bytes) -> None:
        """`data` is 8 bytes, which `Answered` has again."""
        self._h2.ping(data)
        self._sent()

    # within

    def _sending(self, stream: int) -> _Stream:
        state = self._streams[stream]
        if not state.sends:
            raise KeyError(stream)
        return state

    def _ended(self, stream: int, state: _Stream) -> None:
        state.sends = False
        self._forget_closed(stream, state)

    def _forget_closed(self, stream: int, state: _Stream) -> None:
        if not state.sends and not state.receives:
            del self._streams[stream]

    def _sent(self) -> None:
        self._rate.sent()
        self._collect()

    def _collect(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._out.append(data)
            self.unwritten += len(data)

    def _read(self, event: h2_events.Event) -> Iterable[Event]:
        match event:
            case h2_events.DataReceived():
                yield from self._data(event)
            case h2_events.RequestReceived() | h2_events.ResponseReceived():
                yield self._head(event)
            case h2_events.StreamEnded():
                yield from self._remote_end(event.stream_id)
            case h2_events.StreamReset():
                yield from self._remote_reset(event.stream_id)
            case h2_events.WindowUpdated():
                yield WindowOpened(event.stream_id)
            case h2_events.PingAckReceived():
                yield Answered(event.ping_data)
            case h2_events.ConnectionTerminated():
                raise LinkError("the peer closed the link")
            case h2_events.RemoteSettingsChanged():
                self._h2.encoder.header_table_size = min(self._h2.encoder.header_table_size, HEADER_TABLE)
                yield WindowOpened(0)
            case _ if not isinstance(event, IGNORED):
                raise LinkError(f"the peer sent what no end sends ({type(event).__name__})")

    def _data(self, event: h2_events.DataReceived) -> Iterable[Event]:
        size = event.flow_controlled_length
        self._unacknowledged += size
        if self._unacknowledged >= LINK_WINDOW // 4:
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
        state = self._streams.get(event.stream_id)
        if state is None:
            return
        state.consumed += size - len(event.data)
        if event.data:
            yield Data(event.stream_id, bytes(event.data))

    def _head(self, event: h2_events.RequestReceived | h2_events.ResponseReceived) -> Head:
        if isinstance(event, h2_events.RequestReceived):
            self._streams[event.stream_id] = _Stream()
        fields: dict[str, str] = {}
        for name, value in event.headers or ():
            key = bytes(name).decode("latin-1")
            if key in fields:
                raise LinkError("the peer sent a field of a head twice")
            fields[key] = bytes(value).decode("latin-1")
        return Head(event.stream_id, fields, event.stream_ended is not None)

    def _remote_end(self, stream: int) -> Iterable[Event]:
        state = self._streams.get(stream)
        if state is not None:
            state.receives = False
            self._forget_closed(stream, state)
            yield Ended(stream)

    def _remote_reset(self, stream: int) -> Iterable[Event]:
        if self._streams.pop(stream, None) is not None:
            yield WasReset(stream)


def _settings(*, client_side: bool) -> dict[SettingCodes, int]:
    settings: dict[SettingCodes, int] = {
        SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
        SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,
        SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_BYTES,
        SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
    }
    if client_side:
        settings[SettingCodes.ENABLE_PUSH] = 0
    return settings
