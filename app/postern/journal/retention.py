"""Deletes old records in small batches, so that writes do not wait long."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import uniform
from time import time
from typing import Any

import anyio
import structlog
from sqlalchemy import Column, ColumnElement, Connection, delete, select

from postern.ids import id_at
from postern.journal.authorizations import delete_authorizations
from postern.journal.clock import Look, advance, jump, look, uptime
from postern.journal.durable_retention import not_kept
from postern.journal.idempotency_keys import KEPT_FOR
from postern.journal.invitations import delete_invitations
from postern.journal.revocations import delete_revocations
from postern.journal.schema import idempotency_keys, refusals, runs
from postern.journal.server_processes import Transaction
from postern.journal.sessions import Ends, delete_sessions
from postern.journal.signed_urls import delete_signed_urls
from postern.journal.storage import ENDED, delete_these_runs

BATCH = 500
"""Rows that are deleted in one write."""
PAUSE = 0.1
"""Seconds between two batches."""
FIRST = 60.0
EVERY = 3600.0
"""Seconds from the start to the first round, and from one round to the next, plus or minus a tenth, so that server
processes that started together do not all delete at once."""
DAY = 86400.0

FIX = (
    "see the clock of the database's machine (on SQLite, of this one); if it is right, nothing is to be done: the time "
    "for which no server ran, or by which the clock was wrong, is caught up a day in an hour"
)

log = structlog.get_logger("postern.retention")


def delete_runs(connection: Connection, before: float, limit: int = BATCH) -> int:
    """Delete up to `limit` runs that began before that moment and have ended, with their steps and calls. Durable runs
    are deleted if they ended before that moment. Returns how many."""
    old = (runs.c.id < id_at(before), runs.c.state.in_(ENDED), not_kept(before))
    ids = _chosen(connection, runs.c.id, old, limit)
    delete_these_runs(connection, ids)
    return len(ids)


def delete_keys(connection: Connection, before: float, limit: int = BATCH) -> int:
    """Delete up to `limit` idempotency keys that were claimed before that moment. Returns how many."""
    table = idempotency_keys
    scopes = _chosen(connection, table.c.scope, (table.c.created_at < before,), limit)
    connection.execute(delete(table).where(table.c.scope.in_(scopes)))
    return len(scopes)


def delete_refusals(connection: Connection, before: float, limit: int = BATCH) -> int:
    """Delete up to `limit` refusals whose last request was before that moment. Returns how many."""
    # An id is of the first request, which is not later than the last: so the bound avoids reading the whole table.
    old = (refusals.c.id < id_at(before), refusals.c.last_at < before)
    ids = _chosen(connection, refusals.c.id, old, limit)
    connection.execute(delete(refusals).where(refusals.c.id.in_(ids)))
    return len(ids)


def _chosen(
    connection: Connection, key: Column[Any], old: tuple[ColumnElement[bool], ...], limit: int
) -> Sequence[str]:
    """The keys of some old rows. Rows that another server process is deleting are skipped. SQLite has one writer and no
    such clause; SQLAlchemy omits it there."""
    chosen = select(key).where(*old).limit(limit).with_for_update(skip_locked=True)
    return connection.execute(chosen).scalars().all()


class Retention:
    """Deletes what is older than `days`, and sessions and links that have ended. Grants stay until they
    are disconnected. `write` is the journal's. `deleted` is called with how many of each kind were deleted."""

    def __init__(
        self,
        write: Transaction,
        days: int,
        *,
        ends: Ends | None = None,
        deleted: Callable[[Mapping[str, int]], object] = lambda _: None,
        now: Callable[[], float] = time,
        passed: Callable[[], float] = uptime,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
        jitter: Callable[[float, float], float] = uniform,
    ) -> None:
        self._write = write
        self._age = days * DAY
        self._ends = ends or Ends()
        self._deleted = deleted
        self._now = now
        self._passed = passed
        self._seen: Look | None = None
        self._sleep = sleep
        self._jitter = jitter
        self.also: dict[str, Callable[[float], Awaitable[int]]] = {}
        """What else is deleted, by its name in the log: each gets the moment before which records are old, and returns
        how many there were."""

    async def run(self) -> None:
        """Delete each hour, until cancelled. An error is logged, and the next round does what is left."""
        with suppress(Exception):  # the first round looks again
            self._seen = await self._look()
        await self._sleep(FIRST)
        while True:
            try:
                await self.sweep()
            except Exception as error:
                log.error("records-not-deleted", cause=type(error).__name__)  # noqa: TRY400 - its text may hold a password
            await self._sleep(EVERY * self._jitter(0.9, 1.1))

    async def sweep(self) -> None:
        """Delete everything that is old by now. Nothing is deleted if the clock jumped since the last look."""
        now = await self._confirmed()
        if now is None:
            return
        gone = {
            "runs": await self._all(partial(delete_runs, before=now - self._age)),
            "keys": await self._all(partial(delete_keys, before=now - KEPT_FOR)),
            "refusals": await self._all(partial(delete_refusals, before=now - self._age)),
            "sessions": await self._all(partial(delete_sessions, now=now, ends=self._ends, limit=BATCH)),
            "authorizations": await self._all(partial(delete_authorizations, before=now, limit=BATCH)),
            "invitations": await self._all(partial(delete_invitations, before=now, limit=BATCH)),
            "signed_urls": await self._all(partial(delete_signed_urls, before=now - self._age, limit=BATCH)),
            "revocations": await self._all(partial(delete_revocations, before=now - self._age, limit=BATCH)),
        }
        if any(gone.values()):
            log.info("records-deleted", **gone)
            self._deleted(gone)
        for name, delete_old in self.also.items():
            if deleted := await delete_old(now - self._age):
                log.info("records-deleted", **{name: deleted})

    async def _confirmed(self) -> float | None:
        """The time by which records are old; None if the clock cannot be believed at the moment."""
        before, now = self._seen, await self._look()
        self._seen = now
        if before is None:
            return now.confirmed
        if ahead := jump(before, now):
            log.warning("clock-jumped", seconds=round(ahead), fix=FIX)
            return None
        self._seen = await self._write(partial(advance, own=self._now(), since=before, at=self._passed()))
        behind = self._seen.wall - self._seen.confirmed
        if behind > DAY:
            log.warning("clock-not-confirmed", hours=round(behind / 3600), fix=FIX)
        return self._seen.confirmed

    async def _look(self) -> Look:
        return await self._write(partial(look, own=self._now(), at=self._passed()))

    async def _all(self, delete_some: Callable[[Connection], int]) -> int:
        total = 0
        while True:
            deleted = await self._write(delete_some)
            total += deleted
            if deleted < BATCH:
                return total
            await self._sleep(PAUSE)
