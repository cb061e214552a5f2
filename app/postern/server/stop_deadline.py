"""The end of a stop that would not end: threads of workflows and libraries cannot be stopped, and Python waits for
them.

A thread waits for the signal from the start. A signal handler must not start one: it may interrupt code that holds the
locks which that needs.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from postern.logs import flush_logs

log = structlog.get_logger("postern.server")

FLUSH_SECONDS = 5.0
"""Seconds beyond the grace in which a stop that still cuts off requests, or writes records, has to end."""


SAY_SECONDS = 1.0
"""Seconds that writing the last lines of the log may take."""


class StopDeadline:
    """Calls `end`, which ends the process, when a stop takes longer than `grace` seconds from the signal. If `finish`
    was not called by then, records may still be written: then FLUSH_SECONDS later."""

    def __init__(self, grace: float, end: Callable[[], Any]) -> None:
        self._grace = grace
        self._end = end
        self._armed = threading.Lock()
        self._armed.acquire()
        self._finished = threading.Event()
        threading.Thread(target=self._watch, name="stop-deadline", daemon=True).start()

    def arm(self) -> None:
        """The signal came. It may be called by a signal handler, and more than once."""
        if self._armed.locked():
            self._armed.release()

    def finish(self) -> None:
        """All is written: only threads are left, and the interpreter that waits for them."""
        self._finished.set()

    def _watch(self) -> None:
        with self._armed:
            pass
        time.sleep(self._grace)
        finished = self._finished.wait(FLUSH_SECONDS)
        last = threading.Thread(target=_say, args=(self._grace, finished), daemon=True)
        last.start()
        last.join(SAY_SECONDS)
        self._end()


def _say(grace: float, finished: bool) -> None:
    """The last line. It may wait for ever: for a stream that nobody reads, or a lock of the code that is stuck."""
    log.warning("stop-cut-short", grace=grace, finished=finished, threads=_left())
    flush_logs()
    sys.stdout.flush()
    sys.stderr.flush()


def _left() -> list[str]:
    """The names of the threads that the interpreter waits for."""
    main = threading.main_thread()
    return sorted(each.name for each in threading.enumerate() if each is not main and not each.daemon)
