"""The sink for log lines: it writes them whole, in order, and many in one write."""

import asyncio
import contextlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, Any

_MOST_WAITING = 512


class _OfThread(threading.local):
    lines: "deque[bytes] | None" = None
    loop: asyncio.AbstractEventLoop | None = None


class BufferedSink:
    """Writes lines whole and in order. Inside an event loop it collects them and writes once a tick. Elsewhere it
    writes at once. A broken stream loses lines and never raises."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._lock = threading.RLock()  # a finalizer may log while its own thread writes
        self._mine = _OfThread()
        self._waiting: list[deque[bytes]] = []

    def write(self, line: bytes) -> None:
        """Add one line, with its newline."""
        mine = self._mine
        loop, lines = mine.loop, mine.lines
        if loop is not None and lines is not None and loop.is_running():  # a tick is scheduled: the usual case
            lines.append(line)
            if len(lines) >= _MOST_WAITING:
                self._drain(lines)
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._drain(lines or (), line)
            return
        if lines is None:
            lines = mine.lines = deque()
            with self._lock:
                self._waiting.append(lines)
        lines.append(line)
        mine.loop = loop
        loop.call_soon(self._tick)

    def flush(self) -> None:
        """Write the waiting lines of all threads."""
        with self._lock:
            for lines in self._waiting:
                self._drain(lines)

    def _tick(self) -> None:
        self._mine.loop = None
        self._drain(self._mine.lines or ())

    def _drain(self, lines: "deque[bytes] | tuple[()]", last: bytes = b"") -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):  # there is nowhere to report it
            taken = []
            while lines:
                taken.append(lines.popleft())
            taken.append(last)
            if together := b"".join(taken):
                self._write(together)


def writer_of(stream: IO[Any]) -> Callable[[bytes], object]:
    """A function that writes bytes to the stream. If the stream has a file, it writes there directly, so that no line
    stays in a buffer."""
    try:
        stream.flush()
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        number = -1
    if number >= 0:
        return lambda lines: _write_all(number, lines)
    if isinstance(stream, io.TextIOBase) and not hasattr(stream, "buffer"):
        return lambda lines: stream.write(lines.decode("utf-8"))
    write: Callable[[bytes], object] = getattr(stream, "buffer", stream).write
    return write


def _write_all(number: int, lines: bytes) -> None:
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(number, rest) :]
