"""Reads from the database: threads and connections of their own, so that reads never wait for the writer."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection

from postern.journal.database.engine import open_engine

READERS = 4

T = TypeVar("T")


class Readers:
    """Runs queries on connections that only read. `dialect` is SQLAlchemy's name of the kind of database."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, writing=False)
        self.dialect = self._engine.dialect.name
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="journal-reader")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """The result of `query`. Raises DBAPIError."""

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
