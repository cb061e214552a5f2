"""The event loop's end of the socket to the writer's process."""

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

from postern.import_path import without_working_directory
from postern.journal.writing.writer import DONE, LENGTH, Start, frame

PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from postern.journal.writing.writer import main; main()"


class Link(asyncio.Protocol):
    """Starts a writer, sends it work and receives its messages: `received` is called with each message, `lost` when the
    writer has ended by itself."""

    def __init__(self, start: Start, received: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._start = start
        self._on_message = received
        self._lost = lost
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def open(self) -> None:
        """Start the process. Its messages are passed to `received`."""
        ours, its = socket.socketpair()
        with its:
            self._process = _writer(its.fileno())
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


def _writer(link: int) -> "subprocess.Popen[bytes]":
    # The database's URL may hold a password. It is sent over the socket, because arguments are visible to others.
    # It finds modules as this process does, except in the working directory: hence -P, and no PYTHONPATH of its own.
    return subprocess.Popen(  # noqa: S603 none of the arguments is input
        [sys.executable, "-P", "-c", PROGRAM, str(link), *without_working_directory(sys.path)],
        pass_fds=[link],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
