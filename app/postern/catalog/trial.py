"""Tries the import of modules in a process of its own, which can be stopped, before the server imports them.

Python cannot interrupt a long calculation in C, such as `9**9**8`, or the compiler. In the server it would hold every
request for good. A module that crashes or ends its process is found here too.

All modules of a load are tried in one process. At a start, which has one thread yet, the process is forked: that costs
a few milliseconds. Later it is a new Python, because a fork of many threads may hang.
"""

import faulthandler
import json
import os
import pickle
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import IO

from postern.catalog.modules import Generation
from postern.catalog.sources import Source, digest_of

MOST_HELD = 1.0
"""Seconds that an import may hold the interpreter, while nothing else runs, in a server that serves."""
HELD = (
    f"the import of {{name}} holds the interpreter for {{seconds:.1f}} s, and no request is served meanwhile; the "
    f"limit in a running server is {MOST_HELD:g} s"
)
VARIABLE = "_POSTERN_TRIED"
"""What a server process tells its workers: the digest of the files that it tried, and the outcome."""

_TO_START = 60.0  # seconds for a new Python, also on a busy machine
_TICK = 0.05
_LAST_WORDS = 2.0
_Task = tuple[Path, list[Source], list[str], dict[str, str]]
"""The folder with its files, the modules to try, and those not to execute, with the reasons."""
_BEGUN, _ENDED = "begun", "ended"
_LINE = re.compile(r'File "(.+)", line ([0-9]+) in ')
_CHILD = (
    "import sys; from postern.collector import begin; begin(); "
    "from postern.structlog_alone import import_structlog; import_structlog(); "
    "from postern.catalog.trial import new_process; new_process(int(sys.argv[1]))"
)


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a module is not imported in the server. `line` is the line that it had reached, if it is known."""

    why: str
    line: int | None = None


class Impossible(OSError):
    """No process can be started here."""


def tried(
    folder: Path,
    sources: Sequence[Source],
    names: Sequence[str],
    seconds: float,
    *,
    hung: Mapping[str, str] = MappingProxyType({}),
    serving: bool,
) -> Mapping[str, Stopped]:
    """The modules that must not be imported here, of those with these names and of the helpers that they import. A
    module that ends in time has no entry, whatever it raises. `hung` are modules that were stopped before, with the
    reasons: they are not waited for again. Raises Impossible."""
    digest = digest_of(sources)
    if not serving and (before := _known(digest)) is not None:
        return before
    stopped: dict[str, Stopped] = {}
    left = list(names)
    while left:
        with TemporaryFile() as words:
            known = {**hung, **{name: each.why for name, each in stopped.items()}}
            process = _Process(folder, sources, left, known, words, fork=not serving and _alone())
            found, left = process.follow(left, seconds, serving=serving)
        stopped |= found
    if not serving:
        os.environ[VARIABLE] = json.dumps([digest, {name: [each.why, each.line] for name, each in stopped.items()}])
    return stopped


def _known(digest: str) -> Mapping[str, Stopped] | None:
    try:
        for_digest, stopped = json.loads(os.environ.get(VARIABLE, ""))
    except ValueError:
        return None
    return {name: Stopped(*each) for name, each in stopped.items()} if for_digest == digest else None


def _alone() -> bool:
    return hasattr(os, "fork") and threading.active_count() == 1


class _Process:
    """One process, and what it reports: each module when its import begins and when it has ended."""

    def __init__(
        self,
        folder: Path,
        sources: Iterable[Source],
        names: Iterable[str],
        hung: Mapping[str, str],
        words: IO[bytes],
        *,
        fork: bool,
    ) -> None:
        self._files = {source.module: source.file for source in sources}
        self._words = words
        self._report, write = os.pipe()
        self._popen: subprocess.Popen[bytes] | None = None
        task = (folder, list(sources), list(names), dict(hung))
        try:
            self._id = self._forked(task, write) if fork else self._started(task, write)
        except OSError as error:
            os.close(self._report)
            raise Impossible(*error.args) from error
        finally:
            os.close(write)
        self._read = b""
        self._code: int | None = None
        self._is_forged = False

    def follow(self, names: Sequence[str], seconds: float, *, serving: bool) -> tuple[dict[str, Stopped], list[str]]:
        """The modules that were stopped, and those that are still to be tried."""
        stopped: dict[str, Stopped] = {}
        begun: list[str] = []
        ended: list[str] = []
        until = time.monotonic() + _TO_START
        while len(ended) < len(names) and (event := self._next(until)) is not None:
            kind, name, held = event
            if kind == _BEGUN:
                until = until if begun else time.monotonic() + seconds
                begun.append(name)
                continue
            if not begun or begun.pop() != name:
                self._is_forged = True
                break
            if not begun:
                until = time.monotonic() + _TO_START
                ended.append(name)
                if serving and held > MOST_HELD:
                    stopped[name] = Stopped(HELD.format(name=name, seconds=held))
        line = self._end(overdue=time.monotonic() >= until, file=self._files.get(begun[-1]) if begun else None)
        if begun:
            stopped[begun[-1]] = Stopped(self._why(begun[-1], seconds), line)
            if begun[-1] == begun[0]:
                ended.append(begun[0])
        elif len(ended) < len(names):
            raise Impossible("the process for trying modules has ended")
        return stopped, [name for name in names if name not in ended]

    def _why(self, name: str, seconds: float) -> str:
        if self._is_forged:
            return f"the import of {name} writes to files that it did not open"
        if self._code is None:
            return f"the import of {name} did not end within {seconds:g} s"
        how = f"signal {-self._code}" if self._code < 0 else f"exit code {self._code}"
        return f"the import of {name} ends the process ({how})"

    def _next(self, until: float) -> tuple[str, str, float] | None:
        """The next event. None at the end of the process, or of its time, or if a module wrote in its place."""
        while b"\n" not in self._read:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._report], [], [], left)[0]:
                return None
            got = os.read(self._report, 65536)
            if not got:
                return None
            self._read += got
        line, _, self._read = self._read.partition(b"\n")
        try:
            kind, name, held = json.loads(line)
            return str(kind), str(name), float(held)
        except (ValueError, TypeError, RecursionError):
            self._is_forged = True
            return None

    def _end(self, *, overdue: bool, file: Path | None) -> int | None:
        """End the process and what it has started. Returns the line of the file that it had reached, if it says so."""
        os.close(self._report)
        if overdue:
            self._signal(signal.SIGABRT)  # it writes where it is
        until = time.monotonic() + _LAST_WORDS
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        with suppress(ChildProcessError):  # the program of an author waits for any process
            while not (gone := os.waitid(os.P_PID, self._id, options)) and time.monotonic() < until:
                time.sleep(0.005)
            self._signal(signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(self._id, 0)[1])
            self._code = None if overdue or not gone else code
        if self._popen is not None:
            self._popen.returncode = 0  # it was waited for here
        self._words.seek(0)
        text = self._words.read(100_000).decode("utf-8", "replace")
        return next((int(line) for found, line in _LINE.findall(text) if found == str(file)), None)

    def _signal(self, number: int) -> None:
        with suppress(OSError):
            os.killpg(self._id, number)

    def _forked(self, task: _Task, write: int) -> int:
        number = os.fork()
        if number == 0:
            try:
                os.setsid()
                _child(task, write, self._words.fileno())
            finally:
                os._exit(0)
        return number

    def _started(self, task: _Task, write: int) -> int:
        with TemporaryFile() as given:
            pickle.dump((sys.path, task), given)
            given.seek(0)
            self._popen = subprocess.Popen(  # noqa: S603 none of the arguments is input
                [sys.executable, "-P", "-c", _CHILD, str(write)],
                pass_fds=[write],
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
                | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
            return self._popen.pid


@contextmanager
def ended_if_held(seconds: float) -> Iterator[None]:
    """End this process if the block holds the interpreter for that long, with the place on standard error: an import
    that went well in the trial may differ here. A supervisor starts the server again, and the file is tried again."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def new_process(report: int) -> None:
    """The body of a process that is not forked."""
    sys.path[:], task = pickle.load(sys.stdin.buffer)  # noqa: S301 of this program's other process
    _child(task, report, 2)
    os._exit(0)


def _child(task: _Task, report: int, words: int) -> None:
    """Import the modules, one after the other, and report each. What they print and log goes nowhere."""
    folder, sources, names, hung = task
    silent = os.open(os.devnull, os.O_RDWR)
    faulthandler.enable(words if words != 2 else os.dup(2), all_threads=False)
    for number in (0, 1, 2):
        os.dup2(silent, number)
    sys.stdout = sys.stderr = os.fdopen(silent, "w")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold what the server has in memory
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)

    def say(kind: str, name: str, held: float = 0.0) -> None:
        os.write(report, json.dumps([kind, name, held]).encode() + b"\n")

    @contextmanager
    def reported(name: str) -> Iterator[None]:
        say(_BEGUN, name)
        try:
            yield
        finally:
            say(_ENDED, name)

    generation = Generation(folder, sources, threading.TIMEOUT_MAX, reported)
    generation.refuse(hung)
    clock = _Held()
    for name in names:
        say(_BEGUN, name)
        clock.begin()
        with suppress(BaseException):  # the server imports it again, and reports it
            generation.module(name)
        say(_ENDED, name, clock.longest())


class _Held:
    """Measures how long the interpreter is held at once, in processor time: another process's work does not count."""

    def __init__(self) -> None:
        self._last = self._longest = 0.0
        threading.Thread(target=self._follow, daemon=True).start()

    def begin(self) -> None:
        """Begin a measurement."""
        self._last, self._longest = time.process_time(), 0.0

    def longest(self) -> float:
        """The longest time since `begin`."""
        self._tick()
        return self._longest

    def _follow(self) -> None:
        while True:
            time.sleep(_TICK)
            self._tick()

    def _tick(self) -> None:
        now = time.process_time()
        self._longest = max(self._longest, now - self._last)
        self._last = now
