"""The journal's writer as a thread of this process: another process would import the program a second time."""

import os
import socket
import subprocess
import threading
from contextlib import closing, suppress
from typing import cast

from postern.journal.writing.writer import Writer


class _Thread:
    """What the journal uses of a process."""

    def __init__(self, link: socket.socket) -> None:
        self.pid = os.getpid()
        self._link = link
        self._thread = threading.Thread(target=self._run, name="postern-writer", daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """0 when it has ended."""
        return None if self._thread.is_alive() else 0

    def wait(self, timeout: float | None = None) -> int:
        """Return when it has ended."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired("writer", timeout or 0)
        return 0

    def kill(self) -> None:
        """Close its end of the socket, which ends it after its batch."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with closing(Writer(self._link)) as writer, suppress(SystemExit):
            writer.run()


def start_writer(link: int, _: int) -> "subprocess.Popen[bytes]":
    """A writer that has this end of the socket pair."""
    return cast("subprocess.Popen[bytes]", _Thread(socket.socket(fileno=os.dup(link))))
