"""Bounds what callers can store: idempotency keys with their replies, and the runs of anonymous callers.

Both have a part of POSTERN_DATABASE_MAX_BYTES. Who stores most gives back first, and the oldest of it (see
`shares.py`). Growth is counted while it is written. After each step of it, and each minute, the sums are read
and what is too much is deleted up to a moment, so that several server processes that do it at once delete the same.
Runs of callers with a token are kept for POSTERN_RETENTION_DAYS whatever their size: nobody can push them out.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import structlog
from sqlalchemy import Column, ColumnElement, Connection, delete, func, literal, select, update

from postern.errors import Problem
from postern.journal.body_form import Form
from postern.journal.database.contents import database_size
from postern.journal.durable_retention import delete_durable, not_kept
from postern.journal.idempotency_keys import KEY_BYTES
from postern.journal.run import MOVES, State
from postern.journal.schema import calls, idempotency_keys, runs, steps
from postern.journal.server_processes import Transaction
from postern.journal.shares import excess
from postern.journal.writing.rows import RUN_BYTES

DATABASE_BYTES = 8 * 1024**3
"""The default of POSTERN_DATABASE_MAX_BYTES."""
KEYS_PART = 8
ANONYMOUS_PART = 2
"""The parts of the database: an eighth for keys, half of it for runs of anonymous callers."""
STEPS = 64
"""After a growth of a 64th of its part, the sums are read."""
FULL, LEFT = 16, 15
"""What is above 15/16 is deleted, so that each of several processes may write some more until it looks."""
LOOK_EVERY = 60.0
"""Seconds between two looks, and between two lines in the log about what was deleted."""
SUMS_SECONDS = 120.0
"""Seconds that the reads of a look may take: of a large database on a slow disk they take more than other reads."""
RETRY = 1.0
"""Seconds after a look that failed."""
BATCH = 1000
"""Rows that are changed in one write."""

FIX = "raise POSTERN_DATABASE_MAX_BYTES, lower POSTERN_RETENTION_DAYS, or see who fills the database"

ENDED = [state.value for state, moves in MOVES.items() if State.INTERRUPTED not in moves]

log = structlog.get_logger("postern.storage")

Bytes = Mapping[tuple[str, str], int]
"""Bytes by workflow and holder."""


@dataclass(slots=True)
class Growth:
    """Counts what is stored since the last look, and says when the next one is `due`. `most` is the setting."""

    most: int = DATABASE_BYTES
    keys: int = 0
    runs: int = 0
    due: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def most_for_keys(self) -> int:
        """Bytes of idempotency keys."""
        return self.most // KEYS_PART

    @property
    def most_for_runs(self) -> int:
        """Bytes of runs of anonymous callers."""
        return self.most // ANONYMOUS_PART

    def add(self, size: int, *, keyed: bool, anonymous: bool) -> None:
        """Count the end of a run, with the bytes that are about to be stored."""
        if keyed:
            self.keys += KEY_BYTES + size
        if anonymous:
            self.runs += RUN_BYTES + size
        if self.keys * STEPS >= self.most_for_keys or self.runs * STEPS >= self.most_for_runs:
            self.due.set()

    def looked(self) -> None:
        """Begin to count anew."""
        self.keys = self.runs = 0
        self.due.clear()


@dataclass(frozen=True, slots=True)
class Sums:
    """What is stored, in bytes: of the whole database, of keys, and of runs of anonymous callers."""

    database: int = 0
    keys: Bytes = field(default_factory=dict)
    runs: Bytes = field(default_factory=dict)


def sums(connection: Connection, url: str) -> Sums:
    """The sums, each from an index. Rows of releases before 0.2 are not in them. What durable runs keep beside their
    records, requests and whole replies, is."""
    size, table = func.sum(idempotency_keys.c.kept_bytes), idempotency_keys.c
    keys = select(table.workflow, table.holder, size).where(table.holder.is_not(None))
    of_runs = select(runs.c.workflow, func.sum(runs.c.kept_bytes)).where(runs.c.kept_bytes.is_not(None))
    return Sums(
        database_size(connection, url),
        {(row[0], row[1]): int(row[2]) for row in connection.execute(keys.group_by(table.holder, table.workflow))},
        {(row[0], ""): int(row[1]) for row in connection.execute(of_runs.group_by(runs.c.workflow))},
    )


def end_of_excess(
    connection: Connection, order: Column[Any], freed: ColumnElement[int], of: Sequence[ColumnElement[bool]], least: int
) -> Any:
    """The value of `order` up to which the oldest rows `of` these conditions free at least so many bytes. None if all
    of them do not."""
    up_to = select(order, func.sum(freed).over(order_by=order).label("freed")).where(*of).subquery()
    return connection.execute(
        select(up_to.c[order.name]).where(up_to.c.freed >= least).order_by(up_to.c[order.name]).limit(1)
    ).scalar()


@dataclass(frozen=True, slots=True)
class Cut:
    """What a workflow's holder gives back: replies of the keys up to `replies`, and keys up to `keys` (Unix seconds);
    runs up to the id `runs`. None is nothing."""

    workflow: str
    holder: str
    replies: float | None = None
    keys: float | None = None
    runs: str | None = None


def cuts(connection: Connection, found: Sums, most_for_keys: int, most_for_runs: int) -> list[Cut]:
    """What has to be given back. A key whose reply is deleted still belongs to its run; only if keys without replies
    are too many, the oldest are deleted too."""
    chosen = []
    for (workflow, holder), size in _above(found.keys, most_for_keys).items():
        table = idempotency_keys.c
        of = (*_keys_of(workflow, holder), table.status.is_not(None))
        reply = table.kept_bytes - KEY_BYTES
        replies = end_of_excess(connection, table.created_at, reply, of, size)
        keys = None
        if replies is None:
            in_replies = connection.execute(select(func.coalesce(func.sum(reply), 0)).where(*of)).scalar_one()
            one = literal(KEY_BYTES)
            left = max(size - int(in_replies), 1)
            replies = connection.execute(select(func.max(table.created_at)).where(*of)).scalar()
            keys = end_of_excess(connection, table.created_at, one, of, left)
        chosen.append(Cut(workflow, holder, replies=replies, keys=keys))
    for (workflow, _), size in _above(found.runs, most_for_runs).items():
        of = (*_runs_of(workflow), runs.c.state.in_(ENDED), not_kept())
        chosen.append(Cut(workflow, "", runs=end_of_excess(connection, runs.c.id, runs.c.kept_bytes, of, size)))
    return chosen


def give_back(connection: Connection, cut: Cut, limit: int = BATCH) -> tuple[int, int, int]:
    """Delete up to `limit` replies, keys and runs of a cut. Returns how many of each. It may be repeated."""
    table = idempotency_keys
    of, ended = _keys_of(cut.workflow, cut.holder), table.c.status.is_not(None)
    replies = keys = gone = 0
    if cut.replies is not None:
        wanted = (*of, ended, table.c.created_at <= cut.replies, table.c.kept_bytes > KEY_BYTES)
        scopes = _chosen(connection, table.c.scope, table.c.created_at, wanted, limit)
        without = {"reply_headers": None, "content": None, "content_form": Form.CUT, "kept_bytes": KEY_BYTES}
        connection.execute(update(table).where(table.c.scope.in_(scopes)).values(without))
        replies = len(scopes)
    if cut.keys is not None:
        wanted = (*of, ended, table.c.created_at <= cut.keys)
        scopes = _chosen(connection, table.c.scope, table.c.created_at, wanted, limit)
        connection.execute(delete(table).where(table.c.scope.in_(scopes)))
        keys = len(scopes)
    if cut.runs is not None:
        wanted = (*_runs_of(cut.workflow), runs.c.state.in_(ENDED), not_kept(), runs.c.id <= cut.runs)
        ids = _chosen(connection, runs.c.id, runs.c.id, wanted, limit)
        delete_these_runs(connection, ids)
        gone = len(ids)
    return replies, keys, gone


def delete_these_runs(connection: Connection, ids: Sequence[str]) -> None:
    """Delete runs with their steps and calls, and what only durable ones have."""
    delete_durable(connection, ids)
    connection.execute(delete(steps).where(steps.c.run_id.in_(ids)))
    connection.execute(delete(calls).where(calls.c.run_id.in_(ids)))
    connection.execute(delete(runs).where(runs.c.id.in_(ids)))


def _above(held: Bytes, most: int) -> dict[tuple[str, str], int]:
    """What each has to give back: nothing while all is within its bounds."""
    return excess(held, most * LEFT // FULL) if excess(held, most) else {}


def _keys_of(workflow: str, holder: str) -> tuple[ColumnElement[bool], ...]:
    return idempotency_keys.c.holder == holder, idempotency_keys.c.workflow == workflow


def _runs_of(workflow: str) -> tuple[ColumnElement[bool], ...]:
    return runs.c.workflow == workflow, runs.c.kept_bytes.is_not(None)


def _chosen(
    connection: Connection, key: Column[Any], order: Column[Any], wanted: Sequence[ColumnElement[bool]], limit: int
) -> Sequence[str]:
    """The keys of the oldest rows. Rows that another server process is deleting are skipped."""
    query = select(key).where(*wanted).order_by(order).limit(limit).with_for_update(skip_locked=True)
    return connection.execute(query).scalars().all()


class Storage:
    """Keeps what callers store within its bounds. `url` is the database's, `read` and `write` are the journal's, and
    `growth` is what the journal counts. `found` has the sums of the last look. `report` is called with how many of
    each kind were deleted."""

    def __init__(
        self,
        url: str,
        growth: Growth,
        read: Transaction,
        write: Transaction,
        clock: Callable[[], float] = monotonic,
        report: Callable[[Mapping[str, int]], object] = lambda _: None,
    ) -> None:
        self.found = Sums()
        self._url = url
        self._growth = growth
        self._read = read
        self._write = write
        self._clock = clock
        self._reported = report
        self._deleted = [0, 0, 0]
        self._logged_at = -LOOK_EVERY
        self._failing = self._large = False

    async def run(self) -> None:
        """Look each minute, and after each step of growth, until cancelled."""
        while True:
            try:
                await self.look()
                self._failing = False
            except Exception as error:
                cause = error.code if isinstance(error, Problem) else type(error).__name__
                if not self._failing:
                    log.error("storage-not-bounded", cause=cause)  # noqa: TRY400 - its text may hold a password
                self._failing = True
                await asyncio.sleep(RETRY)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._growth.due.wait()

    async def look(self) -> None:
        """Read the sums, and delete what is too much."""
        growth = self._growth
        growth.looked()
        self.found = await self._read(partial(sums, url=self._url))
        for cut in await self._read(
            partial(cuts, found=self.found, most_for_keys=growth.most_for_keys, most_for_runs=growth.most_for_runs)
        ):
            while any(gone := await self._write(partial(give_back, cut=cut))):
                self._deleted = [before + now for before, now in zip(self._deleted, gone, strict=True)]
        self._report()

    def _report(self) -> None:
        large = self.found.database > self._growth.most
        if large and not self._large:
            log.warning("database-large", bytes=self.found.database, most=self._growth.most, fix=FIX)
        self._large = large
        now = self._clock()
        if any(self._deleted) and now - self._logged_at >= LOOK_EVERY:
            gone = dict(zip(("replies", "keys", "runs"), self._deleted, strict=True))
            log.warning("records-deleted-early", **gone, fix=FIX)
            self._reported(gone)
            self._deleted, self._logged_at = [0, 0, 0], now
