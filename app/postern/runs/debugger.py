"""Python's debugger for the code of one run, in the terminal of `postern dev`."""

import bdb
import pdb  # noqa: T100 it is what `breakpoint()` opens
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from postern.runs.pauses import PAUSES
from postern.trace import RUN

OURS = ("postern.*", "asyncio.*", "uvicorn.*", "uvloop.*", "starlette.*", "anyio.*", "tenacity.*", "concurrent.*")
"""Modules in which nobody wants to stop who steps out of a workflow."""

HINT = "Run {run_id} waits here: c goes on, q ends the run, Ctrl-C stops the server."

_one_at_a_time = threading.Lock()


class Debugger(pdb.Pdb):
    """It stops in the code of this run only. While it waits for a command, no time passes for timeouts, and what is
    printed goes to the terminal."""

    def __init__(self, run_id: str) -> None:
        super().__init__(skip=OURS, nosigint=True)
        self.stdout = getattr(sys.stdout, "original", sys.stdout)
        self._run_id = run_id
        self._hinted = False

    def interaction(self, frame: FrameType | None, traceback: TracebackType | None) -> None:
        """Wait for commands until the code goes on."""
        with _one_at_a_time, PAUSES.holding(), _leaving():
            before = RUN.set(None)
            try:
                if not self._hinted:
                    self._hinted = True
                    self.message(HINT.format(run_id=self._run_id))
                super().interaction(frame, traceback)
            finally:
                RUN.reset(before)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """A function was called."""
        if self._goes_on():
            super().user_call(frame, argument_list)

    def user_line(self, frame: FrameType) -> None:
        """A line is about to be executed."""
        if self._goes_on():
            super().user_line(frame)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """A function returns."""
        if self._goes_on():
            super().user_return(frame, return_value)

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        """An exception was raised."""
        if self._goes_on():
            super().user_exception(frame, exc_info)

    def _goes_on(self) -> bool:
        """Whether this is code of the run: its thread serves others afterwards."""
        run = RUN.get()
        if run is not None and run[0] == self._run_id:
            return True
        self.set_continue()
        return False


@contextmanager
def _leaving() -> Iterator[None]:
    """Ctrl-C leaves the debugger meanwhile, and stops the server."""
    if threading.current_thread() is threading.main_thread():
        before = signal.getsignal(signal.SIGINT)

        def leave(number: int, frame: FrameType | None) -> None:
            if callable(before):
                before(number, frame)
            raise bdb.BdbQuit

        signal.signal(signal.SIGINT, leave)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
    else:
        PAUSES.leave = _terminal_as_it_is()
        try:
            yield
        finally:
            PAUSES.leave = None


def _terminal_as_it_is() -> Callable[[], object]:
    """A function that sets the terminal as it is now: the process may end while a line is being typed."""
    try:
        import termios

        settings = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, ValueError):
        return lambda: None

    def restore() -> None:
        with suppress(termios.error, ValueError):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)

    return restore
