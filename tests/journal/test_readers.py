"""A read has a limit of time, holds nothing after it, and never holds up the server itself."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from postern.errors import Problem
from postern.journal.journal import Journal
from postern.journal.reading import reading
from postern.journal.reading.readers import OF_CALLERS, OF_SERVER, Readers
from postern.journal.shares import ANONYMOUS, Holder

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ADA, BOB, CARL = ("t", "ada"), ("t", "bob"), ("t", "carl")
ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}


def endless(connection: Connection) -> Any:
    return connection.execute(text(ENDLESS[connection.dialect.name])).scalar()


def quick(connection: Connection) -> Any:
    return connection.execute(text("SELECT count(*) FROM runs")).scalar()


@asynccontextmanager
async def reading_from(url: str) -> AsyncIterator[Readers]:
    readers = Readers(url)
    try:
        yield readers
    finally:
        await readers.aclose(5)


async def test_a_quiet_moment_is_one_in_which_no_query_runs(database_url):
    async with reading_from(database_url) as readers:
        await readers.quiet(0)
        running, go_on = threading.Event(), threading.Event()

        def waits(_: Connection) -> bool:
            running.set()
            return go_on.wait(10)

        read = asyncio.create_task(readers.read(waits))
        await asyncio.to_thread(running.wait, 10)
        quiet = asyncio.create_task(readers.quiet(10))
        await readers.quiet(0)  # its patience is over
        assert not quiet.done()
        go_on.set()
        await quiet
        assert not readers._underway
        assert await read


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Nobody else can read the table of runs."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(make_url(url).database or "", isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("DELETE FROM runs")
            yield
    else:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
            yield


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def begin(readers: Readers, caller: Holder | None, count: int) -> list[asyncio.Task[Any]]:
    before = len(readers._underway)
    tasks = [asyncio.create_task(readers.read(endless, caller, 60.0)) for _ in range(count)]
    await until(lambda: len(readers._underway) == before + count)
    return tasks


async def over(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_read_ends_at_its_limit_and_so_does_its_query(database_url):
    async with reading_from(database_url) as readers:
        for caller in (ADA, None) * (OF_CALLERS + OF_SERVER):
            with pytest.raises((TimeoutError, DBAPIError)):
                await readers.read(endless, caller, 0.05)
        await until(lambda: not readers._underway)
        assert await readers.read(quick, ADA) == 0


async def test_the_time_in_which_a_read_waits_for_its_turn_counts(database_url):
    async with reading_from(database_url) as readers:
        tasks = await begin(readers, ADA, 2)
        with pytest.raises(TimeoutError):
            await readers.read(quick, ADA, 0.05)
        await over(*tasks)


async def test_a_caller_that_gave_up_holds_neither_a_place_nor_a_thread(database_url):
    async with reading_from(database_url) as readers:
        tasks = [*await begin(readers, ADA, 2), *await begin(readers, BOB, 1)]
        waiting = asyncio.create_task(readers.read(quick, CARL, 60.0))
        await asyncio.sleep(0)
        await over(*tasks)
        assert await waiting == 0
        await until(lambda: not readers._underway)
        assert await asyncio.gather(*(readers.read(quick, who) for who in (ADA, BOB, (ANONYMOUS, "x")))) == [0] * 3


async def test_reads_of_the_server_do_not_wait_for_those_of_callers(database_url):
    """Heartbeats, cancellations and readiness."""
    async with reading_from(database_url) as readers:
        tasks = [*await begin(readers, ADA, 2), *await begin(readers, BOB, 1)]
        assert await readers.read(quick, None, 10.0) == 0
        await over(*tasks)


async def test_sqlite_itself_gives_up_a_lock_after_the_limit(database_url):
    """The limit of a read ends the wait of its caller, but not that of the thread."""
    if database_url.startswith("sqlite"):
        async with reading_from(database_url) as readers:
            for who in (ADA, None):
                waits = await readers.read(lambda found: found.execute(text("PRAGMA busy_timeout")).scalar(), who)
                assert waits == reading.LOCK_SECONDS * 1000


async def test_a_locked_table_is_waited_for_no_longer_than_the_limit_says(database_url, monkeypatch):
    monkeypatch.setattr(reading, "LOCK_SECONDS", 0.05)
    async with reading_from(database_url) as readers:
        with locked(database_url), pytest.raises(DBAPIError):
            await readers.read(quick, ADA, 60.0)
        assert await readers.read(quick, ADA) == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.process
async def test_a_connection_that_was_lost_between_two_reads_is_replaced(database_url):
    """Else each of them would be a 503 after a restart of PostgreSQL."""
    async with reading_from(database_url) as readers:
        for _ in range(3):
            await asyncio.gather(*(readers.read(quick, who) for who in (ADA, BOB, None)))
            with psycopg.connect(database_url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'postern' AND datname = current_database()"
                )
        assert await readers.read(quick, ADA) == 0


async def test_a_close_ends_the_queries_that_go_on(database_url):
    readers = Readers(database_url)
    tasks = await begin(readers, None, OF_SERVER)
    await readers.aclose(0.5)
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: not [each for each in threading.enumerate() if each.name.startswith("journal-watcher")])


@pytest.mark.process
async def test_reads_go_on_while_nothing_can_be_written(database_url):
    """A full disk is one reason. A read that takes too long is a 503 with a reason for the log."""
    journal = Journal(database_url)
    await journal.open()
    try:
        journal.available = False
        assert await journal.read(quick, ADA) == 0
        with pytest.raises(Problem) as caught:
            await journal.read(endless, ADA, 0.05)
        assert (caught.value.status, caught.value.code) == (503, "journal-unavailable")
        assert caught.value.headers["Retry-After"]
    finally:
        with suppress(Problem):
            await journal.aclose()
