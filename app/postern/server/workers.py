"""Several server processes that share one listening socket, and the parent that watches over them.

At a signal the parent blocks new connections and signals each worker, which drains by itself. The port is closed when
all have closed it. A second signal makes them end at once. A worker that dies is replaced. Workers end by themselves
when the parent is killed.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import SpawnProcess
from types import FrameType

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from postern.server.listener import block_new
from postern.server.worker_start import begin_worker

SAFE_PATH = "PYTHONSAFEPATH"
SIGNALS = (signal.SIGTERM, signal.SIGINT)
KILL_AFTER = 10.0
"""Seconds after the grace in which a worker that still has not ended is killed. A worker ends by itself before (see
stop_deadline), unless code holds its interpreter."""
RESTART_PAUSE = 1.0
"""A worker lives at least this many seconds before it is replaced, so that a broken one cannot spin."""

Serve = Callable[[uvicorn.Config, socket.socket, float], int]

log = structlog.get_logger("postern.server")
multiprocessing.allow_connection_pickling()
_spawn = multiprocessing.get_context("spawn")


class Workers:
    """The parent. `serve` is an importable function that serves in one process and returns its exit code."""

    def __init__(self, serve: Serve, config: uvicorn.Config, listener: socket.socket, *, grace: float) -> None:
        self._work = partial(_work, serve, config, grace, os.environ.get(SAFE_PATH))
        self._listener = listener
        self._inherited = config.fd is not None
        self._count = config.workers
        self._grace = grace
        self._alive: dict[SpawnProcess, float] = {}
        self._due: list[float] = []
        self._signals: list[int] = []
        self._exit_code = 0

    def run(self) -> int:
        """Watch until all workers have ended; 0 if gracefully, else the code of one that did not."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            for _ in range(self._count):
                self._start()
            self._watch()
        finally:
            for process in self._alive:
                process.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._exit_code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _start(self) -> None:
        process = _spawn.Process(target=begin_worker, args=(pickle.dumps(self._work), self._listener))
        # What is ignored now is ignored in the new process from its first moment: a terminal's SIGINT reaches the whole
        # group, and a worker that is still being loaded would die of it with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with _safe_path():
            process.start()
        signal.signal(signal.SIGINT, self._on_signal)
        self._alive[process] = time.monotonic()

    def _watch(self) -> None:
        passed_on = 0
        deadline: float | None = None
        while self._alive or (self._due and not self._stopping()):
            time.sleep(0.1)
            for process in [each for each in self._alive if not each.is_alive()]:
                self._ended(process, self._alive.pop(process))
            if not self._stopping():
                self._replace()
            elif deadline is None or len(self._signals) > passed_on:
                passed_on = len(self._signals)
                self._stop_listening()
                deadline = deadline or time.monotonic() + self._grace + KILL_AFTER
                self._terminate()
            elif time.monotonic() > deadline:
                self._exit_code = self._exit_code or 128 + signal.SIGKILL
                return

    def _stopping(self) -> bool:
        return bool(self._signals) or bool(self._exit_code)

    def _ended(self, process: SpawnProcess, started: float) -> None:
        code = process.exitcode or 0
        if self._stopping() or code == STARTUP_FAILURE:
            # A worker that gets the signal before it can handle signals dies of the signal itself.
            self._exit_code = self._exit_code or (0 if code == -signal.SIGTERM else code)
        else:
            log.error("worker-died", process_id=process.pid, exit_code=code)
            self._due.append(started + RESTART_PAUSE)

    def _replace(self) -> None:
        now = time.monotonic()
        for due in [each for each in self._due if each <= now]:
            self._due.remove(due)
            self._start()

    def _stop_listening(self) -> None:
        if not self._inherited and self._listener.fileno() >= 0:
            block_new(self._listener)
        self._listener.close()

    def _terminate(self) -> None:
        for process in self._alive:
            process.terminate()


@contextmanager
def _safe_path() -> Iterator[None]:
    """Processes that begin in this block never import from the working directory. multiprocessing has no argument for
    it; what it passes on as `sys.path` comes too late for the modules that it imports itself."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        _restore(before)


def _restore(safe_path: str | None) -> None:
    if safe_path is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = safe_path


def _work(serve: Serve, config: uvicorn.Config, grace: float, safe_path: str | None, listener: socket.socket) -> None:
    """The body of a worker. The programs that workflows start get the variable as the operator set it."""
    _restore(safe_path)
    threading.Thread(target=_follow_parent, daemon=True).start()
    with listener:
        raise SystemExit(serve(config, listener, grace))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
