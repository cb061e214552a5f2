"""Threads that the code of a run starts belong to the run: what they print and log does too.

Python before 3.14 starts a thread in an empty context. Here a thread gets the run of the code that starts it, and a
function in a `ThreadPoolExecutor` that of the code that submits it.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any

from postern.trace import RUN, SECURED, Trace

_start: Callable[..., None] = Thread.start
_submit: Callable[..., Future[Any]] = ThreadPoolExecutor.submit
_WORKER = getattr(pools, "_worker", None)
"""What a thread of a pool runs. It serves many runs, so it belongs to none."""

Known = tuple[tuple[str, Trace | None] | None, bool]


def follow_threads() -> None:
    """From now on, threads belong to the run that starts them."""
    _replace(_start_of_run, _submit_of_run)


def leave_threads() -> None:
    """From now on, they do not."""
    _replace(_start, _submit)


def _replace(start: Callable[..., None], submit: Callable[..., Future[Any]]) -> None:
    for owner, name, value in ((Thread, "start", start), (ThreadPoolExecutor, "submit", submit)):
        setattr(owner, name, value)


def _start_of_run(self: Thread) -> None:
    known = RUN.get(), SECURED.get()
    if _is_any(known) and getattr(self, "_target", None) is not _WORKER:
        vars(self)["run"] = partial(_run, self, self.run, known)
    _start(self)


def _run(thread: Thread, run: Callable[[], None], known: Known) -> None:
    """Run the thread. Its context stays as it is, because an exception is printed after its end."""
    with suppress(KeyError):
        del vars(thread)["run"]
    RUN.set(known[0])
    SECURED.set(known[1])
    run()


def _submit_of_run(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    known = RUN.get(), SECURED.get()
    if _is_any(known):
        return _submit(self, _call, known, fn, *args, **kwargs)
    return _submit(self, fn, *args, **kwargs)


def _call(known: Known, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    run, secured = RUN.set(known[0]), SECURED.set(known[1])
    try:
        return fn(*args, **kwargs)
    finally:
        RUN.reset(run)
        SECURED.reset(secured)


def _is_any(known: Known) -> bool:
    return known[0] is not None or known[1]
