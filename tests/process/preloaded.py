"""`postern` processes that are forked from one that has imported the program already: to start Python and import takes
most of a second, and two cores do that for one process after the other. The writers of such servers are forked from it,
too.

Everything else is as in `python -m postern`: the arguments, the environment, the working directory, the streams, the
module `__main__`, the end of the interpreter and the exit code. Tests of the start itself, and of memory, start Python
(`servers.INTERPRETER`).
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from postern.import_path import without_working_directory

ROOT = Path(__file__).parents[2]

FORKED_WITH: list[socket.socket] = []
"""In a process that was forked: the socket to the one that forks."""

PROGRAM = """
import gc, json, os, runpy, signal, socket, sys
import postern.assembly.application, postern.cli.commands, postern.cli.dev, postern.cli.serve, postern.server.process
import alembic.command, anyio._backends._asyncio, httpcore2, httptools, psycopg, sqlite3, uvicorn.lifespan.on, uvloop
import sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite.pysqlite
from postern.ids import _ids
from postern.journal.writing import writer, writer_link
from tests.process import preloaded

assert not _ids.random, "processes would have the same ids"
gc.collect()
gc.freeze()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the parents
with socket.socket(fileno=int(sys.argv[1])) as asked:
    while True:
        request, received, _, _ = socket.recv_fds(asked, 1_000_000, 6)
        if not request:
            os._exit(0)
        if not os.fork():
            break
        for each in received:
            os.close(each)

# The parent of one process, which reports its id, and its exit code when it has ended.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
report, *streams = received[:4]
if process := os.fork():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for each in (*received[1:], 0, 1, 2):
        os.close(each)
    os.write(report, b"%d\\n" % process)
    os.write(report, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    os._exit(0)

os.close(report)
for number, each in enumerate(streams):
    os.dup2(each, number)
    os.close(each)
request = json.loads(request)
os.environ.clear()
os.environ.update(request["environ"])
os.chdir(request["folder"])
preloaded.ask(socket.socket(fileno=received[4]))
if links := received[5:]:
    sys.path[:] = request["arguments"]
    sys.argv[1:] = map(str, links)
    try:
        writer.main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(0)  # everything is closed; what Python clears at its end takes longer than all the rest
writer_link._writer = preloaded.writer
sys.argv[1:] = request["arguments"]
runpy.run_module("postern", run_name="__main__", alter_sys=True)
"""


class Process:
    """What tests use of a `Popen`, for a process whose parent is another one."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        *streams: int,
        links: Sequence[int] = (),
    ) -> None:
        self.args = ["postern", *arguments]
        self.returncode: int | None = None
        self._report, its = os.pipe()
        request = {"arguments": list(arguments), "folder": os.fspath(folder), "environ": dict(environ)}
        try:
            asked = _parent()
            socket.send_fds(asked, [json.dumps(request).encode()], [its, *streams, asked.fileno(), *links])
        finally:
            os.close(its)
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended."""
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._line())
            os.close(self._report)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            read = os.read(self._report, 1)
            assert read, "the process that forks has ended"
            line += read
        return line

    def __del__(self) -> None:
        if self.returncode is None:
            os.close(self._report)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process needs to find this repository, and nothing that this machine sets besides."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("POSTERN_", "AZURE_", "COV_"))}
    return {**plain, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "NO_COLOR": "1", **(more or {})}


def of_python(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python reads when it starts: all processes that are forked have them in common."""
    return {name: value for name, value in environ.items() if name.startswith("PYTHON")}


def writer(link: int, printed: int) -> Process:
    """A writer of the journal, for a server that was forked. It is like the one that a server starts, but no child of
    its."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with Path(os.devnull).open("r+b", buffering=0) as nothing:
        streams = nothing.fileno(), nothing.fileno(), printed
        return Process(without_working_directory(sys.path), Path.cwd(), environ, *streams, links=[link])


def program(place: Path) -> int:
    """Write a program to this file for scripts of shells that run `postern` again and again. The shell needs the file
    descriptor that is returned, under its number."""
    asked = _parent().fileno()
    text = f"#!{sys.executable} -IS\nimport sys\nsys.path += {[str(ROOT), str(ROOT / 'app')]}\n"
    place.write_text(f"{text}from tests.process.preloaded import instead\ninstead({asked})\n", encoding="utf-8")
    place.chmod(0o755)
    return asked


def instead(asked: int) -> None:
    """The body of that program."""
    ask(socket.socket(fileno=asked))
    process = Process(sys.argv[1:], Path.cwd(), os.environ, 0, 1, 2)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: process.send_signal(number))
    code = process.wait()
    os._exit(code if code >= 0 else 128 - code)


def ask(asked: socket.socket) -> None:
    """Ask the process at the other end of this socket, in a process that it has forked itself."""
    FORKED_WITH[:] = [asked]


def _parent() -> socket.socket:
    """The socket to the process that forks."""
    return FORKED_WITH[0] if FORKED_WITH else _started()[0]


@cache
def _started() -> "tuple[socket.socket, subprocess.Popen[bytes]]":
    """The process that forks, and the socket to it. It ends when this one and all that it has forked have ended, and
    thus the socket is closed."""
    asked, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(its.fileno())],
            pass_fds=[its.fileno()],
            env=environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    return asked, process
