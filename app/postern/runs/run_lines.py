"""What the code of runs prints and logs, from its first line to the journal. A run without lines costs nothing."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Protocol

from sqlalchemy import Connection

from postern.journal.run import Run
from postern.journal.run_logs import Lines, LogLine, add_lines, fitting, size_of
from postern.journal.shares import ANONYMOUS
from postern.journal.storage import Growth
from postern.journal.writing.queue import Queue
from postern.logs import BEGUN, Said, finish_lines

MOST_OF_A_LINE = 4096
"""Characters of a line that are kept."""
WRITE_EVERY = 0.5
"""Seconds from the first line that waits until the lines of a run that goes on are written."""


class Writes(Protocol):
    """The journal, as lines need it."""

    growth: Growth
    queue: Queue

    def write_soon(self, operation: Callable[[Connection], object]) -> None:
        """Write it with one of the next batches."""


@dataclass(slots=True)
class _Collected:
    """The lines of one execution of a run. `kept` and `bytes` are of all of them, `lines`, `left_out` and `secured` of
    those that wait. While it `replays`, its code may have said all of it before."""

    attempt: int = 1
    number: int = 1
    replays: bool = False
    kept: int = 0
    bytes: int = 0
    lines: list[LogLine] = field(default_factory=list)
    left_out: int = 0
    secured: int = 0

    def add(self, said: Said) -> None:
        """Add what the code said, within the bounds of a run."""
        if said.hidden:
            self.secured += said.hidden
            return
        new = [_line(said, text) for text in said.text.split("\n")]
        fits = fitting(new, self.kept, self.bytes)
        self.lines += fits
        self.kept += len(fits)
        self.bytes += sum(map(size_of, fits))
        self.left_out += len(new) - len(fits)

    def drop(self) -> None:
        """Forget what waits: it is on the record of an earlier execution."""
        self.kept -= len(self.lines)
        self.bytes -= sum(map(size_of, self.lines))
        self.lines, self.left_out, self.secured = [], 0, 0


class RunLines:
    """The lines of the runs of this process. `find` returns a run that has not ended. The lines of a run are written
    each WRITE_EVERY seconds, and with its end. It belongs to the event loop in which it is made; lines come from any
    thread.

    The code of a durable run runs again from its start when another execution takes it over. What it says between two
    checkpoints is kept only if the second one is new."""

    def __init__(self, find: Callable[[str], Run | None], journal: Writes) -> None:
        self.waiting: dict[str, _Collected] = {}
        """By the ids of runs."""
        self._find = find
        self._journal = journal
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = False
        self._ending: Run | None = None

    def open(self) -> None:
        """Lines are written in the event loop that runs."""
        self._loop = asyncio.get_running_loop()

    def take(self, run_id: str, said: Said) -> None:
        """Add what the code of a run said, if the run is recorded and goes on here."""
        run = self._open(run_id)
        if run is None or run.workflow.stateless:
            return
        with self._lock:
            self.waiting.setdefault(run_id, _Collected()).add(said)
            due, self._due = self._due, True
        if not due and self._loop is not None:
            self._loop.call_soon_threadsafe(self._write_later, context=Context())

    def ended(self, run: Run) -> None:
        """The run has ended: its last lines are written before its end, or with it."""
        if BEGUN:
            self._ending = run
            finish_lines(run.id)
            self._ending = None
        self.left(run.id, run)

    def begins(self, run_id: str, attempt: int) -> None:
        """An execution of a durable run begins. After the first attempt, its code may have run before."""
        self.left(run_id)
        if attempt > 1:
            self.waiting[run_id] = _Collected(attempt, replays=True)

    def again(self, run_id: str) -> None:
        """A checkpoint was read: its run has said before what it said up to here."""
        with self._lock:
            if (collected := self.waiting.get(run_id)) is not None and collected.replays:
                collected.drop()

    def fresh(self, run_id: str) -> None:
        """A checkpoint is made: from here on the run says what it has not said before."""
        if (collected := self.waiting.get(run_id)) is not None:
            collected.replays = False

    def left(self, run_id: str, run: Run | None = None) -> None:
        """The run goes on here no more."""
        with self._lock:
            collected = self.waiting.pop(run_id, None)
        if collected is not None:
            self._write(run_id, collected, run)

    def _open(self, run_id: str) -> Run | None:
        """The run, if lines of it can still be added."""
        if (ending := self._ending) is not None and ending.id == run_id:
            return ending
        run = self._find(run_id)
        return None if run is None or run.ended_at else run

    def _write_later(self) -> None:
        if self._loop is not None:
            self._loop.call_later(WRITE_EVERY, self._write_all, context=Context())

    def _write_all(self) -> None:
        with self._lock:
            self._due = False
        for run_id, collected in list(self.waiting.items()):
            run = self._find(run_id)
            if run is None:
                self.left(run_id)
            elif not collected.replays:
                self._write(run_id, collected, run)

    def _write(self, run_id: str, collected: _Collected, run: Run | None) -> None:
        """Write what waits. Where the journal has too much to write, lines are left out."""
        with self._lock:
            kept, left_out, secured = tuple(collected.lines), collected.left_out, collected.secured
            collected.lines, collected.left_out, collected.secured = [], 0, 0
            number, collected.number = collected.number, collected.number + 1
        if not (kept or left_out or secured):
            return
        if self._journal.queue.crowded:
            kept, left_out = (), left_out + len(kept)
        anonymous = run is not None and run.caller.kind == ANONYMOUS
        lines = Lines(
            *(run_id, collected.attempt, number, kept, left_out, secured),
            workflow=run.workflow.name if run is not None and anonymous else "",
        )
        self._journal.write_soon(partial(add_lines, lines=lines))
        self._journal.growth.add(sum(map(size_of, kept)), keyed=False, anonymous=anonymous)


def _line(said: Said, text: str) -> LogLine:
    left_out = len(text) - MOST_OF_A_LINE
    shown = text if left_out <= 0 else f"{text[:MOST_OF_A_LINE]}… ({left_out:,} characters left out)"
    return LogLine(said.at, said.source.value, said.level, said.logger, shown)
