"""The journal: every run is on disk before its reply leaves, and one transaction writes many of them (group commit).

What the event loop queues while one batch is being committed is the next batch; there is no other delay. All queues
belong to the event loop, one batch at a time is with the writer's thread, and one wake-up of the loop answers for all
of a batch. Reads have threads and connections of their own and never wait for the writer.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_exponential_jitter

from app.errors import Problem, problem
from app.ids import new_id
from app.runs.histogram import Batches
from app.runs.journal.batch import Batch, Operation, is_passing, write_batch
from app.runs.journal.database import migrate, open_engine
from app.runs.journal.rows import run_row, step_row
from app.runs.run import Run, Step

MAX_QUEUED = 10_000
"""Ended runs that wait to be written; with more, no run starts."""
MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Bytes of their bodies."""
START_DELAY = 0.02
"""Seconds after which a run that has not ended is on its way to disk as running. Most have ended by then, and are one
insert."""
PATIENCE = 5.0
"""Seconds that a batch may take before replies that wait for it become a 503. It is tried on all the same."""
READERS = 4

T = TypeVar("T")
log = structlog.get_logger("postern.journal")


class Journal:
    """Records of runs in the database at `url`. It belongs to one event loop, between `open` and `aclose`."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.node = new_id()
        self.available = False
        self.batches = Batches()
        self._writing = open_engine(url, writing=True)
        self._connection: Connection | None = None
        self._reading = open_engine(url, writing=False)
        self.dialect = self._writing.dialect.name
        self._patience = patience
        self._begun: dict[str, Run] = {}
        self._ended: list[Run] = []
        self._steps: list[tuple[str, Step]] = []
        self._operations: list[Operation] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._current: Batch | None = None
        self._submitted_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._work, name="journal", daemon=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="journal-reader")

    # The life of the journal

    async def open(self) -> None:
        """Start the writer. Where the database cannot be had yet, it is tried on in the background, and until then no
        run that is recorded starts. Raises DatabaseFault where trying again will not help."""
        self._loop = asyncio.get_running_loop()
        first = self._loop.create_future()
        self._opened = first
        self._writer.start()
        await asyncio.wait([first], timeout=self._patience)
        if first.done():
            first.result()
        self._timer = self._loop.call_later(START_DELAY, self._tick)

    async def aclose(self) -> None:
        """Write what is queued, for as long as a reply would wait, and let go of the database."""
        loop, until = asyncio.get_running_loop(), monotonic() + self._patience
        while (self._current or self._ended or self._begun or self._operations) and monotonic() < until:
            if self._current is None:
                self._submit(begun=True)
            await asyncio.sleep(0.005)
        if self._timer is not None:
            self._timer.cancel()
        self._give_up()
        self._closing.set()
        self._inbox.put(None)
        await loop.run_in_executor(None, self._writer.join, self._patience)
        self._readers.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(TimeoutError):  # a connection in use would be left open
            async with asyncio.timeout(self._patience):
                await loop.run_in_executor(None, self._readers.shutdown)
        self._reading.dispose()

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
        if self._current is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._submit)
        return future

    def note_step(self, run_id: str, step: Step) -> None:
        """Put a step that has ended on record, with the next batch."""
        self._steps.append((run_id, step))

    @property
    def queued(self) -> int:
        """How many runs wait to be written, or are being written."""
        return len(self._ended) + (len(self._current.runs) if self._current else 0)

    # Everything else

    async def write(
        self, operation: Callable[[Connection], T], undo: Callable[[Connection], object] | None = None
    ) -> T:
        """What `operation` returns when it has been committed with the next batch. It runs in the writer's thread, and
        may run again after a lost connection, so it must be harmless twice. `undo` runs where it was committed after
        its caller had been told that it was not. Raises Problem `journal-unavailable`."""
        loop = self._loop
        if loop is None or not self.available:
            raise unavailable()
        future = loop.create_future()
        self._operations.append(Operation(operation, future, undo))
        if self._current is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._submit)
        result: T = await future
        return result

    def write_soon(self, operation: Callable[[Connection], object]) -> None:
        """Do it with the next batch that is committed, without telling anybody: in one transaction with the end of a
        run that is given next. What fails is logged."""
        self._operations.append(Operation(operation, None, None))

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What `query` returns, from a connection that reads only. Raises Problem `journal-unavailable`."""

        def run() -> T:
            with self._reading.begin() as connection:
                return query(connection)

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
        if self._current is not None:
            if self.available and monotonic() - self._submitted_at > self._patience:
                log.error("journal-unavailable", waiting=self.queued)
                self.available = False
                self._give_up()
        elif self._begun or self._steps or self._operations:
            self._submit(begun=True)

    def _submit(self, *, begun: bool = False) -> None:
        self._scheduled = False
        if self._current is not None:
            return
        runs, self._ended = self._ended, []
        if begun and self._begun:
            runs.extend(self._begun.values())
            self._begun.clear()
        if not (runs or self._operations or self._steps):
            return
        # Rows are made here, many in a row, and not in the other thread, where each would contend for the interpreter.
        node = self.node
        rows = [run_row(run, node) for run in runs]
        steps = [step_row(run_id, step) for run_id, step in self._steps]
        batch = Batch(rows, steps, self._operations, self._waiters)
        self._steps, self._operations, self._waiters, self._queued_bytes = [], [], [], 0
        self._current, self._submitted_at = batch, monotonic()
        self._inbox.put(batch)

    def _committed(self, batch: Batch) -> None:
        """The batch is on disk."""
        self._current = None
        self.batches.sizes.observe(len(batch.runs) + len(batch.operations))
        self.batches.seconds.observe(monotonic() - self._submitted_at)
        if not self.available:
            log.info("journal-available")
            self.available = True
        if batch.lost:
            for row, waiter in zip(batch.runs, batch.waiters, strict=False):
                if row[0] in batch.lost and not waiter.done():
                    waiter.set_exception(problem("internal-error"))
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(None)
        for operation in batch.operations:
            undo = operation.settle()
            if undo is not None:
                self._operations.append(Operation(undo, None, None))
        if self._ended or self._operations:
            self._submit()

    def _lost(self, batch: Batch, error: Exception) -> None:
        """The batch cannot be written, now or later."""
        self._current = None
        for future in (*batch.waiters, *(operation.future for operation in batch.operations)):
            if future is not None and not future.done():
                future.set_exception(unavailable(type(error).__name__))
        self._submit()

    def _give_up(self) -> None:
        """Tell everybody who waits that nothing can be recorded at the moment."""
        batches = [self._current] if self._current else []
        for batch in (*batches, Batch([], [], self._operations, self._waiters)):
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_exception(unavailable())
            for operation in batch.operations:
                operation.abandon(unavailable())
        self._operations = [operation for operation in self._operations if operation.future is None]

    # In the writer's thread

    def _work(self) -> None:
        try:
            self._insist(partial(migrate, self._writing))
        except Exception as error:
            self._writing.dispose()
            self._tell(self._not_opened, error)
            return
        self._tell(self._is_open)
        while (batch := self._inbox.get()) is not None:
            try:
                self._insist(partial(self._write, batch))
            except Exception as error:
                if not self._closing.is_set():
                    log.exception("batch-lost", runs=len(batch.runs))
                self._tell(self._lost, batch, error)
            else:
                self._tell(self._committed, batch)
        if self._connection is not None:
            self._connection.close()
        self._writing.dispose()

    def _write(self, batch: Batch) -> None:
        """Write it on the connection that is kept, or a new one where the last was lost."""
        if self._connection is None:
            self._connection = self._writing.connect()
        try:
            write_batch(self._connection, batch)
        except Exception:
            connection, self._connection = self._connection, None
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()
            raise

    def _insist(self, attempt: Callable[[], object]) -> None:
        """Do it, again and again while the database cannot be had; until the journal closes."""
        try:
            attempt()
        except Exception as error:
            if not is_passing(error):
                raise
        else:
            return
        Retrying(
            stop=lambda _: self._closing.is_set(),
            wait=wait_exponential_jitter(multiplier=0.05, max=2.0, jitter=0.05),
            retry=retry_if_exception(is_passing),
            sleep=sleep_using_event(self._closing),
            before_sleep=_warn,
            reraise=True,
        )(attempt)

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(what, *arguments)

    def _is_open(self) -> None:
        self.available = True
        if not self._opened.done():
            self._opened.set_result(None)

    def _not_opened(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
        log.error("journal-not-opened", error=str(error))


def unavailable(reason: str = "") -> Problem:
    """Nothing can be recorded at the moment."""
    return problem("journal-unavailable", headers={"Retry-After": "2"}, reason=reason)


def _warn(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    cause = getattr(error, "orig", None) or error
    if state.attempt_number <= 3 or state.attempt_number % 20 == 0:
        log.warning("journal-write-failed", error=type(cause).__name__, attempt=state.attempt_number)
