"""The writer's process. This module loads no database, so that a server can start its writer before it loads its own:
both load the same, each on a processor of its own, and the first recorded run waits for neither."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable

from postern.import_path import without_working_directory

_BEGIN = (
    "import sys; sys.path[:] = sys.argv[2:]; from postern.collector import begin; begin(); "
    "from postern.journal.writing.writer import main; "
)
PROGRAM = f"{_BEGIN}main()"
EARLY_PROGRAM = f"{_BEGIN}from postern.journal.writing.writer_process import handed_over; main(handed_over)"
LOOK_SECONDS = 1.0
"""Between two looks of an early writer whether its server is still there."""

StartWriter = Callable[[int, int], "subprocess.Popen[bytes]"]
"""Starts a writer with the other end of a socket, and with a file for what it prints, both as file descriptors."""


def start_writer(link: int, printed: int) -> "subprocess.Popen[bytes]":
    """Start a writer's process. For the arguments see StartWriter. Raises OSError."""
    return _process(PROGRAM, link, printed)


class EarlyWriter:
    """A writer that is started now and gets its work later. `start` is a StartWriter: its first call hands the
    arguments to that process, and each further call starts another one. Where there is none yet, the first call starts
    one."""

    def __init__(self) -> None:
        self._server, its = socket.socketpair()
        with its:
            self._process = early_process(its.fileno())

    def start(self, link: int, printed: int) -> "subprocess.Popen[bytes]":
        """See the class. Raises OSError."""
        process, self._process = self._process, None
        if process is not None:
            try:
                socket.send_fds(self._server, [b"\0"], [link, printed])
            except OSError:  # it has ended: the next one says why, if it cannot start either
                _end(process)
            else:
                self._server.close()
                return process
        return start_writer(link, printed)

    def close(self) -> None:
        """End the process if it got no work."""
        process, self._process = self._process, None
        self._server.close()
        if process is not None:
            _end(process)


def early_process(server: int) -> "subprocess.Popen[bytes] | None":
    """A writer's process that gets its arguments from this socket, None if none can be started. On a single processor
    it would take the time of the server, whose requests that are not recorded need no writer."""
    if os.cpu_count() == 1:
        return None
    try:
        return _process(EARLY_PROGRAM, server, subprocess.DEVNULL)
    except OSError:
        return None


def handed_over() -> int:
    """The file descriptor of the link, in an early writer: it waits until the server has it. It ends with the server,
    even if another process has inherited the server's end of the socket."""
    parent = os.getppid()
    with socket.socket(fileno=int(sys.argv[1])) as server:
        while not select.select([server], [], [], LOOK_SECONDS)[0]:
            if os.getppid() != parent:
                raise SystemExit
        _, files, _, _ = socket.recv_fds(server, 1, 2)
    if not files:  # the server has ended, or needs no writer
        raise SystemExit
    link, printed = files
    os.dup2(printed, 2)
    os.close(printed)
    return link


def _process(program: str, link: int, printed: int) -> "subprocess.Popen[bytes]":
    # The database's URL may hold a password. It is sent over the socket, because arguments are visible to others.
    # It finds modules as this process does, except in the working directory: hence -P, and no PYTHONPATH of its own.
    return subprocess.Popen(  # noqa: S603 none of the arguments is input
        [sys.executable, "-P", "-c", program, str(link), *without_working_directory(sys.path)],
        pass_fds=[link],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=printed,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
