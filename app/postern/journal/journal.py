"""The journal: every run is on disk before its reply is sent, and one transaction writes many runs (group commit).

The records that the event loop queues while one batch is being committed form the next batch; there is no other delay.
The writer's process (`writing/writer.py`) has one batch at a time, and acknowledges it with one message. Reads have
threads and connections of their own and never wait for the writer.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar, cast

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from postern.authoring.call_result import Call
from postern.errors import DatabaseFault, Problem, problem
from postern.histogram import Batches
from postern.ids import new_id
from postern.journal.database.engine import file_of
from postern.journal.database.faults import Cause, Kind, cause_of
from postern.journal.database.sqlite_file import identity_of
from postern.journal.reading.readers import READ_SECONDS, Readers
from postern.journal.run import Run, Step
from postern.journal.shares import ANONYMOUS, Holder
from postern.journal.storage import Growth
from postern.journal.ticks import Ticks
from postern.journal.writing.pending import Operation, Sent
from postern.journal.writing.queue import CROWDED, CROWDED_BYTES, Queue
from postern.journal.writing.together import work_of
from postern.journal.writing.watched_writer import REPORT_EVERY, SILENCE, SLOW_START, WAITS, Gone, WatchedWriter
from postern.journal.writing.writer import Done, NotOpened, Opened, Start, Trouble, Work, frame
from postern.journal.writing.writer_process import StartWriter

START_DELAY = 0.02
"""Seconds after which an unfinished run is queued to be recorded as running. Most have ended by then, and are a single
insert."""

PATIENCE = 5.0
"""Seconds that a batch may take before the replies that wait for it become a 503. It is still retried. Only time in
which the event loop runs counts."""

LONGEST_TICK = 5 * START_DELAY
"""Seconds of PATIENCE that one tick counts at most. If the event loop was held up for longer, the writer's answer may
have come meanwhile, or the batch may not have left: that is no sign of a database that is away."""

START_SECONDS = 10.0
"""Seconds that the writer's process may take to report whether it could open the database. So long do the first replies
wait for it: on a busy machine a new process takes its time."""

T = TypeVar("T")
log = structlog.get_logger("postern.journal")


class Journal:
    """Records of runs in the database at `url`. It belongs to one event loop, between `open` and `aclose`. `readable`:
    the database has this program's tables already, so reads need not wait for the writer, which migrates them. For
    `start_writer` see Link."""

    def __init__(
        self,
        url: str,
        *,
        patience: float = PATIENCE,
        growth: Growth | None = None,
        silence: float = SILENCE,
        readable: bool = False,
        start_writer: StartWriter | None = None,
    ) -> None:
        self.node = new_id()
        self.available = False
        self.batches = Batches()
        self._readers = Readers(url)
        path = file_of(url)
        start = Start(url, self.node, None if path is None else identity_of(path))
        self._writer = WatchedWriter(start, self._on_message, self._writer_gone, silence, start_writer)
        self.dialect, self.quiet = self._readers.dialect, self._readers.quiet
        self._patience = patience
        self._readable = readable
        self.queue = Queue()
        self.growth = growth or Growth()
        self._ticks = Ticks(START_DELAY, self._tick)
        self._scheduled = False
        self._sent: Sent | None = None
        self._sent_at = self._ticked_at = self._waited = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: asyncio.Future[None] | None = None

    # The life of the journal

    async def start(self) -> None:
        """Start the writer, and accept runs at once: they wait until it has opened the database. If it cannot be opened
        yet, the writer retries in the background, and no recorded run starts until then."""
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self.available = True
        self._ticked_at = monotonic()
        await self._writer.start()
        self._ticks.start()

    async def open(self) -> None:
        """Start, and wait until the database is open or one attempt has failed. Raises DatabaseFault if another attempt
        will not help."""
        await self.start()
        await self.opened(START_SECONDS)
        if self._opened is not None and self._opened.done():
            self._opened.result()

    async def opened(self, seconds: float | None = None) -> None:
        """Wait until the writer has reported on opening the database, for at most so many `seconds`."""
        if self._is_opening:
            await asyncio.wait([cast("asyncio.Future[None]", self._opened)], timeout=seconds)

    async def aclose(self) -> None:
        """Write what is queued, for as long as a reply would wait, and close the database."""
        until = monotonic() + self._patience
        while (self._sent or self.queue or self.queue.begun) and monotonic() < until:
            if self._sent is None:
                self._submit(begun=True)
            await asyncio.sleep(0.005)
        self._ticks.stop()
        self._give_up()
        await self._writer.aclose(self._patience)
        await self._readers.aclose(self._patience)

    def abandon(self) -> None:
        """Disconnect from the writer at once, as the event loop is about to end. It writes the batch that it has."""
        self._ticks.stop()
        self._writer.abandon()

    # Runs

    def begin(self, run: Run) -> None:
        """Register a run that starts. Raises Problem `journal-unavailable` if it cannot be recorded."""
        self.admit(run)
        self.queue.begun[run.id] = run
        if self._ticks.timer is None:
            self._ticks.need()

    def admit(self, run: Run) -> None:
        """Raise Problem `journal-unavailable` if this run cannot be recorded now, or if its caller has a full share of
        the queue."""
        queue = self.queue
        crowded = len(queue.ended) > CROWDED or queue.bytes > CROWDED_BYTES
        if not self.available or (crowded and not queue.has_room(run)):
            raise unavailable()

    def end(self, run: Run, along: Callable[[Connection], object] | None = None) -> "asyncio.Future[Any]":
        """Queue a run that has ended, and an operation for its transaction. The future has its result when both are on
        disk. If it raises Problem `journal-unavailable`, the run is still written later."""
        if (loop := self._loop) is None:
            raise RuntimeError("the journal is not open")
        future = loop.create_future()
        operation = None if along is None else Operation(*work_of(along), None, None, waiter=future)
        size = self.queue.end(run, future, operation)
        if along is not None or run.caller.kind == ANONYMOUS:
            self.growth.add(size, keyed=along is not None, anonymous=run.caller.kind == ANONYMOUS)
        if not self.available:
            future.set_exception(unavailable())
        if self._sent is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._submit)
        return future

    def note_step(self, run_id: str, step: Step) -> None:
        """Record a step that has ended, with the next batch."""
        self.queue.steps.append((run_id, step))
        self._ticks.need()

    def note_call(self, run_id: str, call: Call) -> None:
        """Record a call that has ended, with the next batch."""
        self.queue.calls.append((run_id, call))
        self._ticks.need()

    @property
    def queued(self) -> int:
        """How many runs wait to be written, or are being written."""
        return len(self.queue) + (len(self._sent.ids) if self._sent else 0)

    # Everything else

    async def write(self, operation: Callable[[Connection], T], undo: Callable[[Connection], Any] | None = None) -> T:
        """The result of `operation`, committed with the next batch: a function of a module, with its arguments as
        `functools.partial`, in the writer's process. It may run again after a lost connection. `undo` runs if it was
        committed after its caller got an error, or was cancelled. Raises Problem `journal-unavailable`."""
        if (loop := self._loop) is None or not self.available:
            raise unavailable()
        future = loop.create_future()
        self.queue.operate(queued := Operation(*work_of(operation), future, undo))
        if self._sent is None and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._submit)
        try:
            result: T = await future
        except asyncio.CancelledError:
            if undo is not None and queued.has_result:  # its task was cancelled before it woke
                self.write_soon(undo)
            raise
        return result

    def write_soon(self, operation: Callable[[Connection], object]) -> None:
        """Run `operation` with one of the next batches. A failure is logged."""
        self.queue.operate(Operation(*work_of(operation), None, None))
        self._ticks.need()

    async def read(
        self, query: Callable[[Connection], T], caller: Holder | None = None, seconds: float = READ_SECONDS
    ) -> T:
        """The result of `query`, also while nothing can be written. Reads of callers take turns (`reading/turns.py`).
        Raises Problem `journal-unavailable`, after so many `seconds` at the latest."""
        if not self._readable:  # a new database has no tables yet
            await self.opened(START_SECONDS if caller else None)
            if self._is_opening:
                raise unavailable()
        try:
            return await self._readers.read(query, caller, seconds)
        except DBAPIError as error:
            raise unavailable(str(cause_of(error))) from None
        except TimeoutError:
            raise unavailable(f"no answer within {seconds:g} s") from None

    # Between the loop and the writer

    def _tick(self) -> bool:
        """Called every START_DELAY while anything waits: record unfinished runs, and notice a batch that hangs."""
        now = monotonic()
        passed, self._ticked_at = min(now - self._ticked_at, LONGEST_TICK), now
        self._writer.tick(passed, busy=self._sent is not None)
        if self._sent is not None:
            self._waited += passed
            if self.available and self._waited > (START_SECONDS if self._is_opening else self._patience):
                self._stop_recording(SLOW_START if self._is_opening else None, opened=not self._is_opening)
        elif self.queue.waits:
            self._submit(begun=True)
        return self._sent is not None or self.queue.waits or not self._writer.is_open

    def _submit(self, *, begun: bool = False) -> None:
        self._scheduled = False
        if self._sent is not None or self._loop is None:
            return
        taken = self.queue.take(begun=begun)
        if taken is None:
            return
        data = frame(Work(taken.runs, taken.steps, [each.work for each in taken.operations], taken.calls))
        ids = [facts[0] for facts in taken.runs]
        self._sent = Sent(data, ids, taken.operations, taken.waiters, taken.large_bytes)
        self._sent_at = self._ticked_at = monotonic()
        self._waited = 0.0
        if self._ticks.timer is None:
            self._ticks.need()
        if self._writer.is_open:
            self._writer.send(data)

    def _on_message(self, message: object) -> None:
        """Handle a message of the writer."""
        match message:
            case Done():
                self._committed(message)
            case Opened():
                self._writer_opened()
            case Trouble(cause, attempt):
                self._troubled(cause, attempt)
            case NotOpened(why):
                log.error("journal-not-opened", error=why)
                if self._is_opening and self._opened is not None:
                    self._opened.set_exception(DatabaseFault(why))
                    self._opened.exception()  # nothing may wait for it
                self._stop_recording()

    @property
    def _is_opening(self) -> bool:
        """Whether the first writer has not reported yet if it could open the database."""
        return self._opened is not None and not self._opened.done()

    def _troubled(self, cause: Cause, attempt: int) -> None:
        """The writer failed, and tries again. Nobody waits for what the database refuses twice, or could not open."""
        if attempt == 1 or attempt % REPORT_EVERY == 0:
            waits = {"waits": WAITS} if self._is_opening else {}
            log.warning("journal-write-failed", attempt=attempt, **cause.fields(), **waits)
        if self._sent is not None:
            self._sent.deaths = 0  # it is not the batch
        if attempt > 1 and (self._is_opening or cause.kind is Kind.REFUSED):
            self._stop_recording(cause)

    def _stop_recording(self, cause: Cause | None = None, *, opened: bool = True) -> None:
        """Nothing can be recorded now: no run starts, and those who wait get an error. The batch is kept. `opened` says
        that the first writer has reported, or will not."""
        if self.available:
            write = log.error if opened else log.warning
            write("journal-unavailable", waiting=self.queued, **(cause.fields() if cause else {}))
        self.available = False
        self._give_up()
        if opened and self._is_opening and self._opened is not None:
            self._opened.set_result(None)

    def _committed(self, done: Done) -> None:
        """The batch is on disk."""
        sent, self._sent = self._sent, None
        if sent is None:
            return
        self.batches.sizes.observe(len(sent.ids) + len(sent.operations))
        seconds = monotonic() - self._sent_at
        self.batches.seconds.observe(seconds)
        self.queue.committed(sent.large_bytes, seconds)
        if self.queue:
            self._submit()  # first, so that the writer does not wait
        if not self.available:
            log.info("journal-available")
            self.available = True
        if done.lost:
            sent.fail_rows(done.lost)
        for operation, result in zip(sent.operations, done.results, strict=True):
            undo = operation.settle(*result)
            if undo is not None:
                self.write_soon(undo)
        for waiter in sent.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _writer_opened(self) -> None:
        self._waited, self._ticked_at = 0.0, monotonic()
        if self._sent is not None:
            self._writer.send(self._sent.data)  # again, but the first time for this writer
        if self._sent is None or self._is_opening:
            self.available = True
        if self._is_opening and self._opened is not None:
            self._opened.set_result(None)

    def _writer_gone(self, gone: Gone) -> None:
        """Another writer will replace it, and get the batch that was not acknowledged, unless several died of it."""
        self._ticks.need()
        if not gone.had_opened:
            self._stop_recording()
            return
        if self._sent is not None and not gone.hung and self._sent.count_death(gone.cause):
            self._sent = None

    def _give_up(self) -> None:
        """Fail all waiting callers, because nothing can be recorded now. Operations without a caller stay queued."""
        sent, (waiters, operations) = self._sent, self.queue.abandoned()
        for waiter in (each for each in [*(sent.waiters if sent else ()), *waiters] if not each.done()):
            waiter.set_exception(unavailable())
        for operation in [*(sent.operations if sent else ()), *operations]:
            operation.abandon(unavailable())


def unavailable(reason: str = "") -> Problem:
    """The problem of a journal that cannot record or read now."""
    return problem("journal-unavailable", headers={"Retry-After": "2"}, reason=reason)
