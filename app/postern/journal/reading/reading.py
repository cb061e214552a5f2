"""One query in a thread, which the event loop can end at any moment: a caller that gave up holds nothing."""

import contextlib
import os
import socket
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

LOCK_SECONDS = 2.0
"""Seconds that a read waits for a lock of the database."""
LOOK_AFTER = 100_000
"""Instructions of SQLite's machine between two looks whether the read was ended: a few milliseconds."""

_LIMITS = text("SELECT set_config('statement_timeout', :statement, true), set_config('lock_timeout', :lock, true)")

T = TypeVar("T")


class Ended(Exception):
    """The read was ended before it had a connection."""


class Reading(Generic[T]):
    """A query that may take so many `seconds`. PostgreSQL ends it after this time by itself, also if nobody can reach
    its process any more."""

    def __init__(self, query: Callable[[Connection], T], seconds: float) -> None:
        self._query = query
        self._seconds = seconds
        self._lock = Lock()
        self._driver: Any = None
        self._over = False

    def run(self, engine: Engine) -> T:
        """The query's result. A connection that was lost before is replaced once. Raises DBAPIError, also if the query
        was ended."""
        try:
            return self._attempt(engine)
        except DBAPIError as error:
            if not error.connection_invalidated or self._over:
                raise
        return self._attempt(engine)

    def _attempt(self, engine: Engine) -> T:
        with engine.connect() as connection:
            self._begin(connection.connection.driver_connection)
            try:
                with connection.begin():
                    if connection.dialect.name == "postgresql":
                        limits = {"statement": _milliseconds(self._seconds), "lock": _milliseconds(LOCK_SECONDS)}
                        connection.execute(_LIMITS, limits)
                    return self._query(connection)
            finally:
                self._leave()  # before another read gets the connection

    def end(self) -> None:
        """End the query: at once on PostgreSQL, whose connection is shut down, also if nothing answers there. SQLite
        looks for it while it works, and waits for a lock no longer than LOCK_SECONDS."""
        with self._lock:
            self._over = True
            if hasattr(self._driver, "fileno"):
                with contextlib.suppress(Exception), socket.socket(fileno=os.dup(self._driver.fileno())) as link:
                    link.shutdown(socket.SHUT_RDWR)

    def _begin(self, driver: Any) -> None:
        with self._lock:
            if self._over:
                raise Ended
            self._driver = driver
        if hasattr(driver, "set_progress_handler"):
            driver.set_progress_handler(lambda: self._over, LOOK_AFTER)

    def _leave(self) -> None:
        with self._lock:
            driver, self._driver = self._driver, None
        if hasattr(driver, "set_progress_handler"):
            driver.set_progress_handler(None, 0)


def limit_waits(engine: Engine) -> None:
    """Let new connections of this engine wait for a lock no longer than LOCK_SECONDS. PostgreSQL's reads say so
    themselves."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "do_connect")
    def _(_dialect: Any, _record: Any, _positional: Any, options: dict[str, Any]) -> None:
        options["timeout"] = LOCK_SECONDS


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
