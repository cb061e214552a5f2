"""Reads from the database: threads and connections of their own, so that reads never wait for the writer."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection

from postern.journal.database.engine import open_engine
from postern.journal.reading.turns import Turns
from postern.journal.shares import Holder

READERS = 4
OF_CALLERS = READERS - 1
"""Reads of callers at a time: one reader is left to the server itself, which looks for cancellations and dead
processes, and reports whether the database works."""
SHARE = 2
"""Reads of one caller, and of all anonymous callers together."""

T = TypeVar("T")


class Readers:
    """Runs queries on connections that only read. `dialect` is SQLAlchemy's name of the kind of database."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, writing=False)
        self.dialect = self._engine.dialect.name
        self._turns = Turns(OF_CALLERS, SHARE)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="journal-reader")

    async def read(self, query: Callable[[Connection], T], caller: Holder | None = None) -> T:
        """The result of `query`, when it is this caller's turn. Without a caller, it is a read of the server itself.
        Raises DBAPIError."""
        if caller is None:
            return await self._read(query)
        async with self._turns.turn(caller):
            return await self._read(query)

    async def _read(self, query: Callable[[Connection], T]) -> T:

        def run() -> T:
            with self._engine.begin() as connection:
                return query(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def aclose(self, patience: float) -> None:
        """Wait for running queries, for at most so many seconds, and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(TimeoutError):  # a connection in use would be left open
            async with asyncio.timeout(patience):
                await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._engine.dispose()
