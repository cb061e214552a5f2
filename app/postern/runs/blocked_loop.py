"""Finds code of authors that blocks the event loop, such as `time.sleep` in an `async def`: while it runs, no other
request is served.

The debug mode of asyncio would find it too, but slows down everything. Here a thread looks at the loop's thread a few
times a second, because each look takes the interpreter from requests. If it finds code of an author there, or a body or
result that is validated, it asks the loop for a sign of life, and looks more often until there is one. Code in C that
holds the interpreter, as validation does, holds this thread up too: it then looks at once, and at the processor time
that the loop's thread has used meanwhile.
"""

import asyncio
import inspect
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import NamedTuple

import structlog
from structlog.typing import FilteringBoundLogger

from postern.authoring.workflow import Workflow
from postern.runs.pauses import PAUSES
from postern.thread_frames import frame_of

LONGEST = 0.2
"""Seconds that code may hold the loop without a warning."""
EVERY = 0.3
"""Seconds between two looks. Code that holds the loop for this and LONGEST is always found, shorter code by chance."""
CLOSER = 0.1
"""Seconds between two looks while the loop owes a sign of life."""
QUIET = 600.0
"""Seconds between two warnings about the same line of the same workflow."""

_HOLDERS = frozenset({"postern.runs.runner", "postern.triggers.read"})
"""Modules whose frames have the workflow in a variable of this name, when code of its author runs below them."""


_FIX_OF_CODE = (
    "no other request is served meanwhile: use an async library, make the workflow a `def`, or call this function with "
    "ctx.step"
)
_FIX_OF_TYPES = (
    "no other request is served while a body or result of this workflow is validated: lower its max_elements, or make "
    "its types and results smaller"
)


class Place(NamedTuple):
    """Where code of an author is in the loop's thread, or the workflow whose body or result is validated there. `step`
    is the same as long as one step of a task goes on."""

    file: str
    line: int
    step: int
    validates: bool = False


class BlockedLoop:
    """Warns of code in the folder that blocks the loop, with workflow and line. `counts` has how often that happened by
    workflow. `names_in` returns the workflows of a file, for code whose workflow is not found otherwise."""

    def __init__(
        self,
        folder: Path,
        names_in: Callable[[str], list[str]],
        *,
        longest: float = LONGEST,
        every: float = EVERY,
        closer: float = CLOSER,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        self._longest = longest
        self._every = every
        self._closer = min(closer, every)
        self._reported = False
        self.counts: Counter[str] = Counter()
        self._below = f"{folder.absolute()}{os.sep}"
        self._names_in = names_in
        self._stopped = threading.Event()
        self._asked: tuple[float, int] | None = None
        self._warned: dict[tuple[str, str, int], float] = {}
        self._log: FilteringBoundLogger = log or structlog.get_logger("postern.runs")

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the loop that runs in this thread."""
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        thread = threading.Thread(target=self._watch, args=arguments, name="blocked-loop", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        looked, used = monotonic(), processor_time(thread)
        while not self._stopped.wait(pause := self._every if self._asked is None else self._closer):
            with frame_of(thread) as frame:
                place = place_of(frame, self._below)
                workflow = workflow_of(frame) if place is not None else ""
            held = min(monotonic() - looked, processor_time(thread) - used)
            if PAUSES.held:
                self._asked = None
            elif place is not None and held >= self._longest + pause:
                self._report(place, workflow)
            elif place is not None:
                self._look(loop, place, workflow)
            looked, used = monotonic(), processor_time(thread)

    def _look(self, loop: asyncio.AbstractEventLoop, place: Place, workflow: str) -> None:
        """Look at the loop's thread, which is in code of an author."""
        asked = self._asked
        if asked is None or asked[1] != place.step:
            if asked is None:
                with suppress(RuntimeError):  # the loop was closed meanwhile
                    loop.call_soon_threadsafe(self._alive)
            self._asked, self._reported = (monotonic(), place.step), False
        elif not self._reported and monotonic() - asked[0] >= self._longest:
            self._reported = True
            self._report(place, workflow)

    def _alive(self) -> None:
        self._asked = None

    def _report(self, place: Place, workflow: str) -> None:
        name = workflow or ", ".join(self._names_in(place.file))
        self.counts[name] += 1
        key, now = (name, place.file, place.line), monotonic()
        if now - self._warned.get(key, -QUIET) < QUIET:
            return
        self._warned[key] = now
        self._log.warning(
            "event-loop-blocked",
            workflow=name,
            file=place.file,
            line=place.line,
            seconds=self._longest,
            fix=_FIX_OF_TYPES if place.validates else _FIX_OF_CODE,
        )


def place_of(frame: FrameType | None, below: str) -> Place | None:
    """The innermost line of the stack that is in a file of the folder, or else the workflow for which the stack
    runs."""
    found: FrameType | None = None
    outer, step = frame, None
    while outer is not None:
        if found is None and outer.f_code.co_filename.startswith(below):
            found, step = outer, outer
        if found is not None and outer.f_code.co_flags & inspect.CO_COROUTINE:
            step = outer
        outer = outer.f_back
    if found is not None:
        return Place(found.f_code.co_filename, found.f_lineno, id(step))
    holder, workflow = _holder(frame)
    return Place(workflow.function.__code__.co_filename, workflow.line, id(holder), True) if workflow else None


def workflow_of(frame: FrameType | None) -> str:
    """The name of the workflow for which the stack runs. "" if it is not in the stack, as in a task of the author's."""
    _, workflow = _holder(frame)
    return workflow.name if workflow is not None else ""


def _holder(frame: FrameType | None) -> tuple[FrameType | None, Workflow | None]:
    while frame is not None:
        if frame.f_globals.get("__name__") in _HOLDERS:
            workflow = frame.f_locals.get("workflow")
            if isinstance(workflow, Workflow):
                return frame, workflow
        frame = frame.f_back
    return None, None


def processor_time(thread: int) -> float:
    """Seconds that a thread of this process has computed. Where that cannot be read (macOS), the time of the clock."""
    if sys.platform == "linux":
        return time.clock_gettime(time.pthread_getcpuclockid(thread))
    return monotonic()
