"""`postern` processes that are forked from one that has imported the program already: to start Python and import takes
most of a second, and two cores do that for one process after the other. What such servers start themselves, workers and
writers, is forked from it, too.

Everything else is as in `python -m postern`: the arguments, the environment, the working directory, the streams, the
module `__main__` and the exit code. So is the end of the interpreter, except that modules are not taken apart. Tests of
the start and the end themselves, and of memory, start Python (`servers.INTERPRETER`).
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from postern.import_path import without_working_directory

ROOT = Path(__file__).parents[2]

FORKED_WITH: list[socket.socket] = []
WORKERS: "dict[int, Process]" = {}
"""In a process that was forked: the socket to the one that forks, and the workers that were started through it."""

PROGRAM = """
import fcntl, gc, json, os, runpy, signal, socket, sys
import postern.assembly.console, postern.assembly.application, postern.cli.commands, postern.cli.dev, postern.cli.serve
import postern.server.process
import alembic.command, anyio._backends._asyncio, httpcore2, httptools, psycopg, sqlite3, uvicorn.lifespan.on, uvloop
import sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite.pysqlite
import postern.durable.dbos_engine, postern.durable.engine, postern.durable.upkeep
from postern.ids import _ids
from tests.process import preloaded

assert not _ids.random_parts, "processes would have the same ids"
gc.collect()
gc.freeze()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the parents
with socket.socket(fileno=int(sys.argv[1])) as asked:
    while True:
        request, received, _, _ = socket.recv_fds(asked, 1_000_000, 20)
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
asked, *links = (fcntl.fcntl(each, fcntl.F_DUPFD, 500) for each in received[4:])  # away from the numbers of links
for each in received[4:]:
    os.close(each)
for number, each in zip(request["links"], links):
    os.dup2(each, number)
    os.close(each)
preloaded.of_a_fork(socket.socket(fileno=asked))
sys.argv[1:] = request["arguments"]
code = None
try:
    if request["code"]:
        sys.path[:] = request["path"] or sys.path
        exec(request["code"])
    else:
        runpy.run_module("postern", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    if not isinstance(ended.code, int | None):
        raise
    code = ended.code
preloaded.end(code or 0)
"""


class Process:
    """What tests use of a `Popen`, for a process whose parent is another one."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        *streams: int,
        code: str = "",
        path: Sequence[str] = (),
        links: Sequence[int] = (),
    ) -> None:
        """`code` runs in place of the program, with `path` to import from if it is another one. `links` are further
        file descriptors, which keep their numbers."""
        self.args = ["postern", *arguments]
        self.returncode: int | None = None
        self._report, its = os.pipe()
        request = {
            "arguments": list(arguments),
            "folder": os.fspath(folder),
            "environ": dict(environ),
            "code": code,
            "path": list(path),
            "links": list(links),
        }
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


def of_a_fork(asked: socket.socket) -> None:
    """In a process that was forked: it starts workers and writers by asking at this socket. Both are as if it had
    started Python, but no children of its. The name of a writer's process is `writer-` with the server's id."""
    from multiprocessing import popen_spawn_posix, util

    from postern.journal.writing import writer_process

    ask(asked)
    changed: Any = writer_process, util, popen_spawn_posix.Popen
    changed[0].start_writer, changed[1].spawnv_passfds, changed[2].poll = (
        _writer,
        partial(_worker, util.spawnv_passfds),
        _worker_ended,
    )
    changed[0].early_process = lambda _: None  # a fork has nothing to load


def end(code: int) -> None:
    """End a process that was forked as the interpreter does: wait for threads, call what is registered, look for
    garbage (`PYTHONWARNINGS` says what was left open), and write out the streams. To take all modules apart as well
    would take more than all else that a short command does, because the process would copy the memory of its parent."""
    interpreter: Any = threading, atexit
    interpreter[0]._shutdown()
    interpreter[1]._run_exitfuncs()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code)


def _writer(link: int, printed: int) -> Process:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    named = f"with open('/proc/self/comm', 'w') as name: name.write('writer-{os.getpid()}')"
    code = f"{named}\nfrom postern.journal.writing.writer import main; main(); os._exit(0)"
    path = without_working_directory(sys.path)
    with Path(os.devnull).open("r+b", buffering=0) as nothing:
        streams = nothing.fileno(), nothing.fileno(), printed
        return Process([str(link)], Path.cwd(), environ, *streams, code=code, path=path, links=[link])


def _worker(start: Callable[..., int], path: object, command: Sequence[str], links: Sequence[int]) -> int:
    *_, code, argument = map(os.fsdecode, command)
    if argument != "--multiprocessing-fork":  # it is no worker
        return start(path, command, links)
    code = f"signal.signal(signal.SIGINT, signal.SIG_IGN); {code}"
    worker = Process([argument], Path.cwd(), os.environ, 0, 1, 2, code=code, path=sys.path, links=links)
    WORKERS[worker.pid] = worker
    return worker.pid


def _worker_ended(popen: Any, flag: int = os.WNOHANG) -> int | None:
    worker = WORKERS[popen.pid]
    return worker.poll() if flag == os.WNOHANG else worker.wait()


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
    atexit.register(_end, asked, process)
    return asked, process


def _end(asked: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    """End the process that forks: none is needed any more."""
    asked.close()
    process.kill()
    process.wait()
