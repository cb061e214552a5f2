"""The frames of a peer, counted before they are parsed: the limits that `h2` does not have."""

from collections.abc import Callable

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
HEADER = 9
"""Bytes of a frame's header (RFC 9113, section 4.1)."""

FRAME_BYTES = 64 * 1024
HEAD_BYTES = 16 * 1024
SETTINGS_BYTES = 16 * 6
SETTINGS_FRAMES = 4
"""How often a peer may change its settings. Our own ends do it once."""

CONTROL_FRAMES_A_SECOND = 100
BURST_SECONDS = 10
"""The rate is an average over this time: all streams of a link may be reset at once."""

MOST_ANSWERS = 4096
"""How many answers to our frames may come late: a window of small frames, each answered by a reset."""

DATA, HEADERS, SETTINGS, PUSH_PROMISE, CONTINUATION = 0x0, 0x1, 0x4, 0x5, 0x9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4


class FrameLimit(Exception):
    """A peer sent frames that no end of ours sends."""


class ControlRate:
    """How many control frames a peer may still send. Each frame of ours allows one, since a window update, a reset or
    an acknowledgement answers it. Beyond that, 100 a second."""

    def __init__(self, clock: Callable[[], float], what: str = "control frames") -> None:
        self._clock = clock
        self._what = what
        self._at = clock()
        self._left = float(CONTROL_FRAMES_A_SECOND * BURST_SECONDS)
        self._answers = 0

    def sent(self) -> None:
        """A frame of ours, which the peer may answer."""
        self._answers = min(self._answers + 1, MOST_ANSWERS)

    def received(self) -> None:
        """Raises FrameLimit."""
        if self._answers:
            self._answers -= 1
            return
        now = self._clock()
        gained = (now - self._at) * CONTROL_FRAMES_A_SECOND
        self._left = min(self._left + gained, float(CONTROL_FRAMES_A_SECOND * BURST_SECONDS)) - 1
        self._at = now
        if self._left < 0:
            raise FrameLimit(f"more than {CONTROL_FRAMES_A_SECOND} {self._what} a second")


class FrameCounter:
    """Reads the headers of frames out of any split of their bytes. `preface`: whether the client's preface comes
    first. A frame is refused at its header, before its body is buffered."""

    def __init__(self, rate: ControlRate, *, preface: bool) -> None:
        self._rate = rate
        self._skip = PREFACE if preface else 0
        self._header = b""
        self._settings = 0

    def count(self, data: bytes) -> None:
        """Raises FrameLimit."""
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            part = data[at : at + HEADER - len(self._header)]
            at += len(part)
            self._header += part
            if len(self._header) == HEADER:
                self._frame(int.from_bytes(self._header[:3]), self._header[3], self._header[4])
                self._skip = int.from_bytes(self._header[:3])
                self._header = b""

    def _frame(self, length: int, kind: int, flags: int) -> None:
        if length > FRAME_BYTES:
            raise FrameLimit(f"a frame of {length} bytes")
        if kind == DATA:
            if length == 0 and not flags & END_STREAM:
                self._rate.received()
            return
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._head(length, kind, flags)
            return
        if kind == SETTINGS and not flags & ACK:
            self._changed_settings(length)
        self._rate.received()

    @staticmethod
    def _head(length: int, kind: int, flags: int) -> None:
        """Our heads fit one frame: RFC 9113 lets every frame have 16 KiB."""
        if kind != HEADERS or not flags & END_HEADERS or length > HEAD_BYTES:
            raise FrameLimit(f"a head of more than one frame or {HEAD_BYTES} bytes")

    def _changed_settings(self, length: int) -> None:
        """`h2` keeps each setting, unknown ones too."""
        self._settings += 1
        if self._settings > SETTINGS_FRAMES or length > SETTINGS_BYTES:
            raise FrameLimit("too many settings")
