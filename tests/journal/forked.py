"""Writers of journals that are forked from one process, which has imported their program already: hundreds of tests
start one, and each start of Python would cost a third of a second."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAM = """
import gc, os, signal, socket, sys, traceback
import alembic.command, psycopg, sqlite3
import sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite.pysqlite
import postern.journal.server_processes, postern.journal.storage, postern.runs.claims
from postern.journal.writing.writer import main

gc.collect()
gc.freeze()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a writer here
with socket.socket(fileno=int(sys.argv[1])) as asked:
    while True:
        folder, links, _, _ = socket.recv_fds(asked, 4096, 1)
        if not folder:
            break
        process = os.fork()
        if not process:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.chdir(folder)
            sys.argv = ["-c", str(links[0])]
            try:
                main()
            except SystemExit:
                pass
            except BaseException:
                traceback.print_exc()
            os._exit(0)  # everything is closed; what Python clears at its end takes longer than all the rest
        os.close(links[0])
        asked.sendall(b"%d\\n" % process)
"""


class Writer:
    """What the journal uses of a `Popen`, for a process that is another's child."""

    def __init__(self, number: int) -> None:
        self.pid = number
        try:
            self._handle = os.pidfd_open(number)
        except ProcessLookupError:
            self._handle = -1

    def poll(self) -> int | None:
        """0 when it has ended: nobody can know how."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return when it has ended."""
        if self._handle < 0:
            return 0
        if not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("writer", timeout or 0)
        os.close(self._handle)
        self._handle = -1
        return 0

    def kill(self) -> None:
        """End it at once."""
        if self._handle >= 0:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)


class Writers:
    """The process that forks, started for the first one."""

    def __init__(self) -> None:
        self._asked: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, link: int, printed: int) -> Writer:
        """A writer that has the other end of this socket."""
        if self._asked is None:
            asked, its = socket.socketpair()
            with its:
                path = os.pathsep.join(filter(None, sys.path))
                self._process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, str(its.fileno())],
                    pass_fds=[its.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                )
            self._asked = asked
        socket.send_fds(self._asked, [os.fsencode(Path.cwd())], [link])
        return Writer(int(self._asked.recv(20)))

    def close(self) -> None:
        """End it; the writers have ended with their journals."""
        if self._asked is not None and self._process is not None:
            self._asked.close()
            self._process.wait(10)


@contextmanager
def forked_writers() -> Iterator[Writers]:
    """Writers while the block runs."""
    writers = Writers()
    try:
        yield writers
    finally:
        writers.close()
