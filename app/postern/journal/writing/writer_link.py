"""The event loop's end of the socket to the writer's process."""

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import postern
from postern.journal.writing.writer import DONE, LENGTH, Start, frame

ROOT = str(Path(postern.__file__).parent.parent)


class Link(asyncio.Protocol):
    """Starts a writer, sends it work and hears from it: `heard` is called with each of its messages, `lost` when it is
    gone without having been told to end."""

    def __init__(self, start: Start, heard: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._start = start
        self._heard = heard
        self._lost = lost
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def open(self) -> None:
        """Start the process. What it says comes through `heard`."""
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
        """Close the socket at once. The writer ends by itself after what it is doing."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    async def aclose(self, patience: float) -> None:
        """Have the writer end after what it is doing, for so many seconds at most."""
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
        """The socket is the event loop's now."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take whole messages out of what has come."""
        received = self._received
        received += data
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if len(received) < end:
                return
            body = received[LENGTH.size : end]
            del received[:end]
            self._heard(pickle.loads(body) if body else DONE)  # noqa: S301 by this program's other process

    def connection_lost(self, exc: Exception | None) -> None:
        """The writer is gone."""
        if self._transport is not None:
            self._transport = None
            self._lost()


def _writer(link: int) -> "subprocess.Popen[bytes]":
    # The database's URL, in which a password may stand, goes over the socket: arguments can be seen by others.
    return subprocess.Popen(  # noqa: S603 nothing of this is input
        [sys.executable, "-c", "from postern.journal.writing.writer import main; main()", str(link)],
        pass_fds=[link],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *filter(None, sys.path)])},
    )
