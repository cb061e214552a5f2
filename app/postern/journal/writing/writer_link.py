"""The event loop's end of the socket to the writer's process."""

import asyncio
import os
import pickle
import socket
import subprocess
import tempfile
from collections.abc import Callable
from typing import IO, Any, cast

from postern.journal.writing import writer_process
from postern.journal.writing.writer import DONE, LENGTH, Start, frame
from postern.journal.writing.writer_process import StartWriter

LONGEST_LINE = 300
"""Characters of what a writer printed last that are logged."""


class Link(asyncio.Protocol):
    """Starts a writer, sends it work and receives its messages: `received` is called with each message, `lost` when the
    writer has ended by itself. `start_writer` starts it in another way than as a process."""

    def __init__(
        self,
        start: Start,
        received: Callable[[Any], None],
        lost: Callable[[], None],
        start_writer: StartWriter | None = None,
    ) -> None:
        self._start = start
        self._start_writer = start_writer
        self._on_message = received
        self._lost = lost
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._printed: IO[bytes] | None = None

    async def open(self) -> None:
        """Start the process. Its messages are passed to `received`. Raises OSError."""
        ours, its = socket.socketpair()
        try:
            with its:
                self._printed = _scratch()
                self._process = (self._start_writer or writer_process.start_writer)(
                    its.fileno(), self._printed.fileno()
                )
        except OSError:
            ours.close()
            self._forget()
            raise
        ours.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        self.send(frame(self._start))

    def send(self, data: bytes) -> None:
        """Send a frame."""
        if self._transport is not None:
            self._transport.write(data)

    def abandon(self) -> None:
        """Close the socket at once. The writer finishes its batch and ends."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._forget()

    def kill(self) -> None:
        """End the process at once. `lost` is called when it has ended."""
        if self._process is not None:
            self._process.kill()

    def last_line(self) -> str:
        """What a process that has ended printed last; "" if nothing."""
        if self._printed is None:
            return ""
        start = max(0, os.fstat(self._printed.fileno()).st_size - 4 * LONGEST_LINE)
        printed = os.pread(self._printed.fileno(), 4 * LONGEST_LINE, start).decode("utf-8", "replace")
        lines = [line for line in printed.splitlines() if line.strip()]
        return lines[-1].strip()[:LONGEST_LINE] if lines else ""

    async def aclose(self, patience: float) -> None:
        """Let the writer finish its batch and end, for at most so many seconds."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        process = self._process
        if process is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(None, process.wait, patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._forget()

    def _forget(self) -> None:
        printed, self._printed = self._printed, None
        if printed is not None:
            printed.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of the socket."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take whole messages out of the received bytes."""
        received = self._received
        received += data
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if len(received) < end:
                return
            body = received[LENGTH.size : end]
            del received[:end]
            self._on_message(pickle.loads(body) if body else DONE)  # noqa: S301 by this program's other process

    def connection_lost(self, exc: Exception | None) -> None:
        """The writer has ended."""
        if self._transport is not None:
            self._transport = None
            self._lost()


def _scratch() -> IO[bytes]:
    """A file without a name, in memory where the system has such: a container may have no other place to write to. A
    pipe would stop a writer that prints much."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("postern-writer"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
