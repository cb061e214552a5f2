"""Reads from the database: threads and connections of their own, so that reads never wait for the writer, and each
within a limit of time."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import Connection

from postern.journal.reading.reading import Reading, open_for_reading
from postern.journal.reading.turns import Turns
from postern.journal.shares import Holder

OF_CALLERS = 3
"""Reads of callers at a time."""
OF_SERVER = 1
"""Short reads of the server itself at a time: it looks for cancellations and dead processes, and reports whether the
database works. They never wait for those of callers."""
READERS = OF_CALLERS + OF_SERVER
SHARE = 2
"""Reads of one caller, and of all anonymous callers together."""
READ_SECONDS = 10.0
"""Seconds that a read may take, with the time in which it waits for its turn."""
SERVER: Holder = ("server", "")
"""The caller of the server's long reads, which take turns with those of callers."""

T = TypeVar("T")


class Readers:
    """Runs queries on connections that only read. `dialect` is SQLAlchemy's name of the kind of database."""

    def __init__(self, url: str) -> None:
        self._engine = open_for_reading(url)
        self.dialect = self._engine.dialect.name
        self._turns = Turns(OF_CALLERS, SHARE)
        self._of_callers = ThreadPoolExecutor(OF_CALLERS, thread_name_prefix="journal-reader")
        self._of_server = ThreadPoolExecutor(OF_SERVER, thread_name_prefix="journal-watcher")
        self._underway: dict[Reading[Any], Future[Any]] = {}

    async def quiet(self, patience: float) -> None:
        """Return in a moment in which no query runs. None begins until the event loop goes on with something else, so
        what the caller does at once meets none. After `patience` seconds of queries without a pause it returns anyway.
        """
        until = monotonic() + patience
        while self._underway and (left := until - monotonic()) > 0:
            await asyncio.to_thread(wait, list(self._underway.values()), left)

    async def read(
        self, query: Callable[[Connection], T], caller: Holder | None = None, seconds: float = READ_SECONDS
    ) -> T:
        """The result of `query`, when it is this caller's turn. Without a caller, it is a read of the server itself.
        When the time is over, or the caller is cancelled, the query is ended, and its place is free. Raises
        DBAPIError, and TimeoutError after so many `seconds`."""
        reading = Reading(query, seconds)
        try:
            async with asyncio.timeout(seconds):
                if caller is None:
                    return await self._read(reading, self._of_server)
                async with self._turns.turn(caller):
                    return await self._read(reading, self._of_callers)
        except BaseException:
            reading.end()
            raise

    async def _read(self, reading: Reading[T], threads: ThreadPoolExecutor) -> T:
        future = self._underway[reading] = threads.submit(reading.run, self._engine)
        future.add_done_callback(lambda _: self._underway.pop(reading, None))  # in its thread, whether awaited or not
        return await asyncio.wrap_future(future)

    async def aclose(self, patience: float) -> None:
        """Wait for running queries, for at most so many seconds, end the others, and close the connections."""
        pools = (self._of_callers, self._of_server)
        for each in pools:
            each.shutdown(wait=False, cancel_futures=True)
        for _ in ("by themselves", "because they were ended"):
            with contextlib.suppress(TimeoutError):  # a connection in use would be left open
                async with asyncio.timeout(patience):
                    for each in pools:
                        await asyncio.get_running_loop().run_in_executor(None, each.shutdown)
            for reading in list(self._underway):
                reading.end()
        self._engine.dispose()
