"""The writer: one thread, in a process of its own, that commits batches of records.

It is a process because Python has one interpreter lock for all threads: a thread that writes waits for it several times
in each batch while the event loop works, and the event loop waits for the thread. It is started by `writer_link.py`
with one end of a socket pair. Messages are frames: four bytes of length, then a pickle (none for DONE), which only
these two write.

It never logs; errors are reported over the socket. It ends when the other end is closed, also by a kill. What it prints
are errors of Python itself, before or after its main function.
"""

import contextlib
import pickle
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_exponential_jitter

from postern import collector
from postern.allocator import return_free_pages
from postern.errors import DatabaseFault
from postern.journal.database.engine import file_of, limit_idle, migrate, open_engine
from postern.journal.database.faults import Cause, Refused, cause_of
from postern.journal.database.sqlite_file import (
    Identity,
    Log,
    log_of,
    places_of_log,
    refuse_another,
    refuse_another_log,
)
from postern.journal.writing.batch import Batch, is_passing, write_batch
from postern.journal.writing.rows import call_row, run_row, step_row
from postern.journal.writing.statements import Row
from postern.structlog_alone import import_structlog

LENGTH = struct.Struct("!I")
TRIM_EVERY = 100
"""Batches after which free memory is returned."""
SIGN_EVERY = 2.0
"""Seconds of work after which the writer says that it does not hang."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Start:
    """The first frame to the writer: which database, the server process's id for its rows, and which file it was when
    the server opened it (None for PostgreSQL)."""

    url: str = field(repr=False)
    node: str
    file: Identity | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Each further frame to the writer: facts of runs (`rows.facts`), steps and calls with the ids of their runs, and
    operations: functions of modules, with their arguments as `functools.partial`, or their pickles."""

    runs: Sequence[tuple[Any, ...]]
    steps: Sequence[tuple[str, Any]]
    operations: Sequence[bytes | Callable[[Connection], Any]]
    calls: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Opening:
    """The process is there. Its next message may take as long as a migration does."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The database is open and its tables exist."""


@dataclass(frozen=True, slots=True)
class NotOpened:
    """The database can never be used; the writer ends."""

    why: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The database is unavailable, or refuses; the writer keeps trying. Sent after each attempt."""

    cause: Cause
    attempt: int


@dataclass(frozen=True, slots=True)
class Working:
    """The writer works on its batch: some bodies take long to be searched for secrets. Sent every SIGN_EVERY."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An error that is not the database's; the writer ends."""

    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """The work is committed, except rows of the `lost` ids, which have their causes. `results` has each operation's
    result, or its error."""

    lost: Mapping[str, str] = field(default_factory=dict)
    results: Sequence[tuple[Any, Exception | None]] = ()


DONE = Done()
"""The most frequent message; it is sent as an empty frame."""


class Writer:
    """Serves one socket. A temporary error is retried until it passes or the socket is closed."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._frames = link.makefile("rb")
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._path: Path | None = None
        self._file: Identity | None = None
        self._log_places = ("", "")
        self._log: Log | None = None
        self._log_lost: Refused | None = None
        self._shown = 0.0

    def run(self) -> None:
        """Open the database, then write each batch."""
        try:
            self._run(self._receive())
        except Exception as error:  # any error: its text may hold a row, and Python would print it
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._send(Broken(f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"))

    def _run(self, start: Start) -> None:
        self._send(Opening())
        opened = self._retry(partial(self._open, start))
        if isinstance(opened, DatabaseFault):
            self._send(NotOpened(str(opened)))
            return
        self._send(Opened())
        for number in count(1):
            if number % TRIM_EVERY == 0:
                return_free_pages()
            batch, unmade = self._batch(self._receive(), start.node)
            self._retry(partial(self._write, opened, batch))
            lost = unmade | batch.lost
            self._send(Done(lost, batch.results) if lost or batch.results else DONE)

    def _batch(self, work: Work, node: str) -> tuple[Batch, dict[str, str]]:
        """The rows and operations of it, and the ids of rows that cannot be made, with the cause. An error of one of
        them is none of the others."""
        self._shown = monotonic()
        unmade: dict[str, str] = {}

        def made(row: Callable[[Any], Row], facts: Iterable[Any]) -> Iterator[Row]:
            for each in facts:
                self._show_work()
                try:
                    yield row(each)
                except Exception as error:
                    unmade[each[0]] = str(cause_of(error))

        # In the order of their ids, so that they are inserted next to the latest rows.
        runs = list(made(lambda facts: run_row(facts, node), sorted(work.runs, key=_id)))
        steps = list(made(lambda step: step_row(*step), work.steps))
        calls = list(made(lambda call: call_row(*call), work.calls))
        operations = [*map(_loaded, work.operations)]
        return Batch(runs, steps, operations, calls, self._show_work), unmade

    def _show_work(self) -> None:
        now = monotonic()
        if now - self._shown > SIGN_EVERY:
            self._shown = now
            self._send(Working())

    def close(self) -> None:
        """Close the socket and the database."""
        self._frames.close()
        self._link.close()
        if self._connection is not None:
            self._connection.close()
        if self._engine is not None:
            self._engine.dispose()

    def _open(self, start: Start) -> Engine | DatabaseFault:
        """The database with its tables, or why it can never be used. A missing file is not made again: the server made
        it when it started."""
        self._path, self._file = file_of(start.url), start.file
        self._refuse_another()
        try:
            if self._engine is None:
                self._engine = open_engine(start.url, writing=True, make=False)
            migrate(self._engine)
        except DatabaseFault as fault:
            return fault
        return self._engine

    def _write(self, engine: Engine, batch: Batch) -> None:
        """Write it on the open connection, or on a new one if the last was lost. What was written to a file that is no
        longer the database, or to a log that is not its own, does not count."""
        if self._connection is None:
            self._refuse_another()
            self._connection = engine.connect()
            limit_idle(self._connection)
            if self._path is not None:
                self._log_places = places_of_log(self._path)
                self._log = log_of(self._log_places)
        try:
            write_batch(self._connection, batch)
            self._refuse_another()
            self._refuse_another_log(self._connection)
        except Exception:
            connection, self._connection = self._connection, None
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()
            raise

    def _refuse_another(self) -> None:
        if self._log_lost is not None:
            raise self._log_lost
        if self._path is not None:
            refuse_another(self._path, self._file)

    def _refuse_another_log(self, connection: Connection) -> None:
        """What is in a log that was deleted is moved to the database while this connection still has it. Nothing is
        written from then on: other processes may have another log."""
        if self._log is None:
            return
        try:
            refuse_another_log(self._log_places, self._log)
        except Refused as refused:
            self._log_lost = refused
            with contextlib.suppress(Exception):  # the driver's own connection, because SQLAlchemy begins a transaction
                connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
            raise

    def _retry(self, attempt: Callable[[], T]) -> T:
        """The result of it; it is repeated while the database is unavailable or refuses. The second attempt follows at
        once, because a lost connection is not worth a pause."""
        try:
            return attempt()
        except Exception as error:
            if not is_passing(error):
                raise
            self._send(Trouble(cause_of(error), 1))
        result: T = Retrying(
            wait=wait_exponential_jitter(multiplier=0.05, max=2.0, jitter=0.05),
            retry=retry_if_exception(is_passing),
            sleep=self._sleep,
            before_sleep=self._before_sleep,
            reraise=True,
        )(attempt)
        return result

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            self._send(Trouble(cause_of(error), state.attempt_number + 1))

    def _sleep(self, seconds: float) -> None:
        """Wait before the next attempt. No work is sent to a busy writer, so readable input means the end."""
        if select.select([self._link], [], [], seconds)[0]:
            raise SystemExit

    def _receive(self) -> Any:
        try:
            head = self._frames.read(LENGTH.size)
        except OSError:  # the other process was killed
            raise SystemExit from None
        if len(head) < LENGTH.size:
            raise SystemExit
        return pickle.loads(self._frames.read(LENGTH.unpack(head)[0]))  # noqa: S301 by this program's other process

    def _send(self, message: object) -> None:
        try:
            self._link.sendall(frame(message))
        except OSError:  # the other process is gone
            raise SystemExit from None


_id = itemgetter(0)


def _loaded(operation: bytes | Callable[[Connection], Any]) -> Callable[[Connection], Any]:
    loaded: Callable[[Connection], Any] = pickle.loads(operation) if isinstance(operation, bytes) else operation  # noqa: S301 written by this program too
    return loaded


def frame(message: object) -> bytes:
    """A message as it is sent over the socket."""
    body = b"" if message is DONE else pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def main(link: Callable[[], int] = lambda: int(sys.argv[1])) -> None:
    """The main function of the process. Signals are for the server: it ends the writer by closing the socket when
    everything is written. `link` returns the file descriptor of the socket as soon as there is one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    import_structlog()  # modules of operations import it, and would import Rich with it
    collector.loaded()
    with closing(Writer(socket.socket(fileno=link()))) as writer:
        writer.run()
