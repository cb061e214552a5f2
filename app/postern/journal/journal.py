"""The journal: every run is on disk before its reply leaves, and one transaction writes many of them (group commit).

What the event loop queues while one batch is being committed is the next batch; there is no other delay. One batch at a
time is with the writer's process (`writer.py`), and one message answers for all of it. Reads have threads and
connections of their own and never wait for the writer.
"""

import asyncio
import contextlib
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from postern.authoring.call_result import Call
from postern.errors import DatabaseFault, Problem, problem
from postern.histogram import Batches
from postern.ids import new_id
from postern.journal.database.engine import open_engine
from postern.journal.run import Run, Step
from postern.journal.writing.pending import Operation, Sent
from postern.journal.writing.rows import facts
from postern.journal.writing.writer import Done, NotOpened, Opened, Start, Trouble, Work, frame
from postern.journal.writing.writer_link import Link

MAX_QUEUED = 10_000
"""Ended runs that wait to be written; with more, no run starts."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Bytes of their bodies."""

START_DELAY = 0.02
"""Seconds after which a run that has not ended is on its way to disk as running. Most have ended by then, and are one
insert."""

PATIENCE = 5.0
"""Seconds that a batch may take before replies that wait for it become a 503. It is tried on all the same."""

START_SECONDS = 10.0
"""Seconds that the writer's process may take to say whether the database can be had."""

RESTART_PAUSE = 0.2
"""Seconds until a writer that died is followed by another."""

MOST_DEATHS = 3
"""Writers that one batch may be sent to. What the last of them dies of is given up, so that the others are written."""

READERS = 4

T = TypeVar("T")

log = structlog.get_logger("postern.journal")


class Journal:
    """Records of runs in the database at `url`. It belongs to one event loop, between `open` and `aclose`."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.node = new_id()
        self.available = False
        self.batches = Batches()
        self._url = url
        self._reading = open_engine(url, writing=False)
        self.dialect = self._reading.dialect.name
        self._patience = patience
        self._begun: dict[str, Run] = {}
        self._ended: list[Run] = []
        self._steps: list[tuple[str, Step]] = []
        self._calls: list[tuple[str, Call]] = []
        self._operations: list[Operation] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._sent: Sent | None = None
        self._sent_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: asyncio.Future[None] | None = None
        self._link: Link | None = None
        self._is_open = False
        self._starting: asyncio.Task[None] | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="journal-reader")

    # The life of the journal

    async def start(self) -> None:
        """Start the writer, and take runs at once: they wait until it has opened the database. Where that cannot be had
        yet, it is tried on in the background, and until then no run that is recorded starts."""
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        await self._start_writer()
        self.available = True
        self._timer = self._loop.call_later(START_DELAY, self._tick)

    async def open(self) -> None:
        """Start, and wait until the database is open or was tried once. Raises DatabaseFault where trying again will
        not help."""
        await self.start()
        if self._opened is not None:
            await asyncio.wait([self._opened], timeout=START_SECONDS)
            if self._opened.done():
                self._opened.result()

    async def aclose(self) -> None:
        """Write what is queued, for as long as a reply would wait, and let go of the database."""
        loop, until = asyncio.get_running_loop(), monotonic() + self._patience
        while (self._sent or self._ended or self._begun or self._operations) and monotonic() < until:
            if self._sent is None:
                self._submit(begun=True)
            await asyncio.sleep(0.005)
        if self._timer is not None:
            self._timer.cancel()
        self._give_up()
        link, self._link = self._link, None
        if link is not None:
            await link.aclose(self._patience)
        self._readers.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(TimeoutError):  # a connection in use would be left open
            async with asyncio.timeout(self._patience):
                await loop.run_in_executor(None, self._readers.shutdown)
        self._reading.dispose()

    def abandon(self) -> None:
        """Let go of the writer at once, where the event loop is about to end. What was sent is still written."""
        link, self._link = self._link, None
        if self._timer is not None:
            self._timer.cancel()
        if link is not None:
            link.abandon()

    async def _start_writer(self) -> None:
        if self._link is not None:
            await self._link.aclose(self._patience)
        self._link = Link(Start(self._url, self.node), self._heard, self._writer_lost)
        await self._link.open()

    # Runs

    def begin(self, run: Run) -> None:
        """Take note of a run that starts. Raises Problem `journal-unavailable`: no record, no run."""
        if not self.available or len(self._ended) >= MAX_QUEUED or self._queued_bytes > MAX_QUEUED_BYTES:
            raise unavailable()
        self._begun[run.id] = run

    def end(self, run: Run) -> "asyncio.Future[None]":
        """Have a run that has ended written. The future is done when it is on disk, or has Problem
        `journal-unavailable`: then it is still written as soon as that is possible."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("the journal is not open")
        self._begun.pop(run.id, None)
        self._ended.append(run)
        self._queued_bytes += len(run.request.body) + len(run.outcome.content)
        future = loop.create_future()
        self._waiters.append(future)
        if not self.available:
            future.set_exception(unavailable())
        if self._sent is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._submit)
        return future

    def note_step(self, run_id: str, step: Step) -> None:
        """Put a step that has ended on record, with the next batch."""
        self._steps.append((run_id, step))

    def note_call(self, run_id: str, call: Call) -> None:
        """Put a call that has ended on record, with the next batch."""
        self._calls.append((run_id, call))

    @property
    def queued(self) -> int:
        """How many runs wait to be written, or are being written."""
        return len(self._ended) + (len(self._sent.runs) if self._sent else 0)

    # Everything else

    async def write(
        self, operation: Callable[[Connection], T], undo: Callable[[Connection], object] | None = None
    ) -> T:
        """What `operation` returns when it has been committed with the next batch. It runs in the writer's process, so
        it is a function of a module, with its arguments as `functools.partial`; and it may run again after a lost
        connection, so it must be harmless twice. `undo` runs where it was committed after
        its caller had been told that it was not. Raises Problem `journal-unavailable`."""
        loop = self._loop
        if loop is None or not self.available:
            raise unavailable()
        future = loop.create_future()
        self._operations.append(Operation(pickle.dumps(operation), future, undo))
        if self._sent is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._submit)
        result: T = await future
        return result

    def write_soon(self, operation: Callable[[Connection], object]) -> None:
        """Do it with the next batch that is committed, without telling anybody: in one transaction with the end of a
        run that is given next. What fails is logged."""
        self._operations.append(Operation(pickle.dumps(operation), None, None))

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What `query` returns, from a connection that reads only. Raises Problem `journal-unavailable`."""

        def run() -> T:
            with self._reading.begin() as connection:
                return query(connection)

        if self._opened is not None and not self._opened.done():
            await asyncio.wait([self._opened], timeout=self._patience)
        if not self.available:
            raise unavailable()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except DBAPIError as error:
            raise unavailable(type(error.orig).__name__) from None

    # Between the loop and the writer

    def _tick(self) -> None:
        """Now and then: write down what runs, and notice a batch that hangs."""
        loop = self._loop
        if loop is None:
            return
        self._timer = loop.call_later(START_DELAY, self._tick)
        if self._sent is not None:
            if self.available and monotonic() - self._sent_at > self._patience:
                log.error("journal-unavailable", waiting=self.queued)
                self.available = False
                self._give_up()
        elif self._begun or self._steps or self._calls or self._operations:
            self._submit(begun=True)

    def _submit(self, *, begun: bool = False) -> None:
        self._scheduled = False
        link = self._link
        if self._sent is not None or link is None:
            return
        runs, self._ended = self._ended, []
        if begun and self._begun:
            runs.extend(self._begun.values())
            self._begun.clear()
        if not (runs or self._operations or self._steps or self._calls):
            return
        operations, rows = self._operations, [facts(run) for run in runs]
        data = frame(Work(rows, self._steps, [operation.pickled for operation in operations], self._calls))
        self._sent = Sent(data, rows, operations, self._waiters)
        self._steps, self._calls, self._operations, self._waiters, self._queued_bytes = [], [], [], [], 0
        self._sent_at = monotonic()
        if self._is_open:
            link.send(data)

    def _heard(self, message: object) -> None:
        """What the writer says."""
        match message:
            case Done():
                self._committed(message)
            case Opened():
                self._writer_opened()
            case Trouble(error, attempt, advice):
                more = {"advice": advice} if advice else {}
                log.warning("journal-write-failed", error=error, attempt=attempt, **more)
                if self._opened is not None and not self._opened.done():
                    self.available = False
                    self._give_up()
                    self._opened.set_result(None)
            case NotOpened(why):
                log.error("journal-not-opened", error=why)
                self.available = False
                self._give_up()
                if self._opened is not None and not self._opened.done():
                    self._opened.set_exception(DatabaseFault(why))

    def _committed(self, done: Done) -> None:
        """The batch is on disk."""
        sent, self._sent = self._sent, None
        if sent is None:
            return
        self.batches.sizes.observe(len(sent.runs) + len(sent.operations))
        self.batches.seconds.observe(monotonic() - self._sent_at)
        if self._ended or self._operations:
            self._submit()  # before anything else, so that the writer need not wait
        if not self.available:
            log.info("journal-available")
            self.available = True
        if done.lost:
            _tell_lost(sent, done.lost)
        for waiter in sent.waiters:
            if not waiter.done():
                waiter.set_result(None)
        for operation, result in zip(sent.operations, done.results, strict=True):
            undo = operation.settle(*result)
            if undo is not None:
                self.write_soon(undo)

    def _writer_opened(self) -> None:
        self._is_open = True
        if self._sent is not None and self._link is not None:
            self._link.send(self._sent.data)  # again, as far as this writer is concerned for the first time
        else:
            self.available = True
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _writer_lost(self) -> None:
        """The writer's process died. Another takes its place, and gets the batch that was not answered for."""
        self._is_open = False
        opened = self._opened
        refused = opened is not None and opened.done() and opened.exception() is not None
        if self._loop is None or self._link is None or refused:
            return
        sent = self._sent
        if sent is not None:
            sent.deaths += 1
            if sent.deaths >= MOST_DEATHS:  # it is what it dies of
                self._sent = None
                _tell_lost(sent, frozenset(row[0] for row in sent.runs))
                for operation in sent.operations:
                    operation.abandon(problem("internal-error"))
        log.error("journal-writer-died")
        self._loop.call_later(RESTART_PAUSE, self._restart_writer)

    def _restart_writer(self) -> None:
        if self._loop is not None and self._link is not None:
            self._starting = self._loop.create_task(self._start_writer())

    def _give_up(self) -> None:
        """Tell everybody who waits that nothing can be recorded at the moment. What nobody waits for is done later."""
        sent = self._sent
        for waiter in [*(sent.waiters if sent else ()), *self._waiters]:
            if not waiter.done():
                waiter.set_exception(unavailable())
        for operation in [*(sent.operations if sent else ()), *self._operations]:
            operation.abandon(unavailable())
        self._operations = [operation for operation in self._operations if operation.future is None]


def _tell_lost(sent: Sent, lost: frozenset[str]) -> None:
    """Some rows could not be written, and never can be."""
    log.error("rows-lost", ids=sorted(lost))
    for row, waiter in zip(sent.runs, sent.waiters, strict=False):
        if row[0] in lost and not waiter.done():
            waiter.set_exception(problem("internal-error"))


def unavailable(reason: str = "") -> Problem:
    """Nothing can be recorded at the moment."""
    return problem("journal-unavailable", headers={"Retry-After": "2"}, reason=reason)
