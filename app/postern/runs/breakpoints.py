"""`breakpoint()` in the code of a workflow: Python's debugger in the terminal of `postern dev`, elsewhere an error."""

import os
import sys
from typing import Any

from postern.runs.pauses import DEBUGGERS, PAUSES
from postern.trace import RUN

VARIABLE = "PYTHONBREAKPOINT"
ONLY_IN_DEV = "breakpoint() works under `postern dev` only: remove it, or run the workflow there"
NO_TERMINAL = "breakpoint() needs a terminal, and the standard input of `postern dev` is none: start it in a terminal"
NO_RUN = "breakpoint() works in the code of a run, and this code belongs to none: move it into the workflow's function"


def refuse_breakpoints() -> None:
    """From now on, `breakpoint()` raises an error: nobody sits at a server, and its run would wait for ever."""
    sys.breakpointhook = _refuse


def use_breakpoints() -> None:
    """From now on, `breakpoint()` in the code of a run opens the debugger in the terminal. The debugger of an IDE has
    its own way, and so has the one that PYTHONBREAKPOINT names."""
    PAUSES.follows = True
    if not any(name in sys.modules for name in DEBUGGERS) and not os.environ.get(VARIABLE):
        sys.breakpointhook = _stop


def _refuse(*_: Any, **__: Any) -> None:
    if os.environ.get(VARIABLE) != "0":
        raise RuntimeError(ONLY_IN_DEV)


def _stop(*_: Any, **__: Any) -> None:
    run = RUN.get()
    if run is None:
        raise RuntimeError(NO_RUN)
    if not sys.stdin.isatty():
        raise RuntimeError(NO_TERMINAL)
    from postern.runs.debugger import Debugger

    Debugger(run[0]).set_trace(sys._getframe(1))
