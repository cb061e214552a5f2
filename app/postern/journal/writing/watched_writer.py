"""A writer's process that is always there: one that died, hangs, or could not start is replaced."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

import structlog

from postern.journal.database.faults import Cause, Kind
from postern.journal.writing.writer import Broken, NotOpened, Opened, Opening, Start, Working
from postern.journal.writing.writer_link import Link
from postern.journal.writing.writer_process import StartWriter

SILENCE = 60.0
"""Seconds without a word of a writer that has a batch, or that is being started, until it is killed. One that waits for
the database says so after each attempt: SQLite's last 30 s (`engine.BUSY_SECONDS`), PostgreSQL's connections fail after
15 s without an answer of its machine. A migration may take longer."""
RESTART_PAUSE = 0.2
LONGEST_PAUSE = 10.0
"""Seconds until a writer that died is replaced; twice as long after each one that could not open the database."""

REPORT_EVERY = 20
"""Attempts of a writer between two lines of the log."""
SLOW_START = Cause(Kind.AWAY, "", text="the writer's process has not started yet")
WAITS = "the server waits until the database can be opened; until then it is not ready, and records nothing"

log = structlog.get_logger("postern.journal")


@dataclass(frozen=True, slots=True)
class Gone:
    """A writer has ended by itself, or was killed. `had_opened`: it had opened the database, and has got the batch.
    `hung`: it was killed because it said nothing any more."""

    had_opened: bool
    hung: bool
    cause: str


class WatchedWriter:
    """Starts writers, one after the other. `received` is called with their messages, and `gone` when one has ended."""

    def __init__(
        self,
        start: Start,
        received: Callable[[object], None],
        gone: Callable[[Gone], None],
        silence: float = SILENCE,
        start_writer: StartWriter | None = None,
    ) -> None:
        self.is_open = False
        """Whether it has opened the database, and takes batches."""
        self._start = start
        self._received = received
        self._gone = gone
        self._most_silence = silence
        self._start_writer = start_writer
        self._link: Link | None = None
        self._silent = 0.0
        self._is_opening = False
        self._hung = False
        self._why = ""
        self._failures = 0
        self._closed = False
        self._restart: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start one. If that fails, `gone` is called, and it is tried again later."""
        former, self._why, self._hung, self._silent = self._link, "", False, 0.0
        if former is not None:
            await former.aclose(self._most_silence)
        if self._closed:
            return
        link = self._link = Link(self._start, self._on_message, self._on_lost, self._start_writer)
        try:
            await link.open()
        except OSError as error:
            self._why = f"{type(error).__name__}: {error.strerror}"
            self._on_lost()

    def send(self, data: bytes) -> None:
        """Send a frame to a writer that `is_open`."""
        if self._link is not None:
            self._link.send(data)

    def tick(self, seconds: float, *, busy: bool) -> None:
        """Count time in which a writer that has a batch, or has not opened the database yet, says nothing."""
        if self._is_opening or self._link is None or (self.is_open and not busy):
            self._silent = 0.0
            return
        self._silent += seconds
        if self._silent > self._most_silence:
            self._silent, self._hung = 0.0, True
            self._link.kill()

    def abandon(self) -> None:
        """Let it finish its batch and end, without waiting for it."""
        link = self._close()
        if link is not None:
            link.abandon()

    async def aclose(self, patience: float) -> None:
        """Let it finish its batch and end, for at most so many seconds."""
        link = self._close()
        if link is not None:
            await link.aclose(patience)

    def _close(self) -> Link | None:
        self._closed, self.is_open = True, False
        if self._restart is not None:
            self._restart.cancel()
        link, self._link = self._link, None
        return link

    def _on_message(self, message: object) -> None:
        self._silent = 0.0
        match message:
            case Opening():
                self._is_opening = True
                return
            case Working():
                return
            case Broken(why):
                self._why = why
                return
            case NotOpened(why):
                self._why = why
            case Opened():
                self.is_open, self._is_opening, self._failures = True, False, 0
        self._received(message)

    def _on_lost(self) -> None:
        if self._closed or self._link is None:
            return
        had_opened, self.is_open, self._is_opening = self.is_open, False, False
        self._failures = 0 if had_opened else self._failures + 1
        cause = f"no word for {self._most_silence:g} s" if self._hung else self._why or self._link.last_line()
        log.error("journal-writer-died", **({"cause": cause} if cause else {}))
        self._gone(Gone(had_opened, self._hung, cause))
        pause = min(RESTART_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._restart = asyncio.get_running_loop().call_later(pause, self._start_again, context=Context())

    def _start_again(self) -> None:
        self._starting = asyncio.get_running_loop().create_task(self.start(), context=Context())
