"""Records refusals (rejected requests). The pipeline hands each one over and continues. Tokens are examined and rows
written afterwards, with limits on memory, rate and disk, so that a flood of rejected requests cannot fill them.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, select
from structlog.typing import FilteringBoundLogger

from postern.access import Check
from postern.journal import schema
from postern.journal.inserts import insert_into
from postern.journal.refusal import Refusal, as_text
from postern.journal.refusal_windows import MANY, Window, Windows
from postern.journal.through import via_client
from postern.redaction import without_tokens

MOST_ROWS = 10_000
FLUSH_SECONDS = 1.0
BATCH = 200
"""Rows that are written or deleted in one operation. The writer has time for runs between two operations."""
EXAMINERS = 4
MOST_UNEXAMINED = 32
"""Refusals whose tokens wait to be examined; further ones keep the checks that the pipeline made."""
MOST_PROVED = 8
"""Further ones whose tokens were verified."""
EXAMINE_SECONDS = 10.0
CLOSE_SECONDS = 5.0

Row = dict[str, Any]
Found = tuple[Sequence[Check], Mapping[str, Any] | None]
Examine = Callable[[Refusal], Awaitable[Found | None]]
Report = Callable[[Sequence[tuple[Window, int]]], None]
"""Gets windows once their tokens are examined, and how many refusals were added to each."""
Write = Callable[[Callable[[Connection], int]], Awaitable[int]]
"""Runs an operation on the database, in a transaction, and returns when that is committed."""


class Refusals:
    """Takes refusals and records them. `write` is the journal's. `examine` returns every check of a refusal's token and
    the identity it claims (None without a token). `report` gets what was counted, once a second. It belongs to one
    event loop: `run` is its task, and `aclose` writes the rest after `run` has ended."""

    def __init__(
        self,
        write: Write,
        examine: Examine,
        log: FilteringBoundLogger,
        *,
        report: Report = lambda _: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._write = write
        self._examine = examine
        self._log = log
        self._report = report
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._most_rows = most_rows
        self._windows = Windows()
        self._unexamined: asyncio.Queue[tuple[Window, Refusal]] = asyncio.Queue(MOST_UNEXAMINED + MOST_PROVED)
        self._came = asyncio.Event()
        self._begun = 0
        self._failing = False

    def take(self, refusal: Refusal) -> bool:
        """Count a refusal. Returns whether it is the first of its window: only that one is logged and its token
        examined. It is called before the reply is sent, so it does as little as possible."""
        window = self._windows.take(refusal, self._clock(), self._now())
        if window is None:
            return False
        self._begun += 1
        self._came.set()
        room = MOST_UNEXAMINED + (MOST_PROVED if refusal.proved else 0) - self._unexamined.qsize()
        if refusal.policy is not None and window.client_address != MANY and room > 0:
            window.examined = False
            self._unexamined.put_nowait((window, refusal))
        return True

    async def run(self) -> None:
        """Examine tokens and write rows until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(EXAMINERS):
                tasks.create_task(self._examine_all())
            while True:
                await self._came.wait()
                self._came.clear()
                while len(self._windows):
                    await self._sleep(FLUSH_SECONDS)
                    await self.flush()

    async def flush(self) -> None:
        """Write the changed windows, and log those that are over. Windows that cannot be written are kept and tried
        again."""
        now = self._clock()
        self._log_counts(self._windows.take_unlogged(now))
        self._report(self._windows.take_unreported())
        await self._write_changed()
        self._windows.forget(now)

    async def aclose(self) -> None:
        """Write the rest, for at most CLOSE_SECONDS. Tokens that were not examined are dropped."""
        while not self._unexamined.empty():
            self._unexamined.get_nowait()
        self._log_counts(self._windows.take_unlogged())
        self._report(self._windows.take_unreported(all_of_them=True))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._write_changed()
        except TimeoutError:
            pass
        if lost := len(self._windows.changed()):
            self._log.warning("refusals-lost", rows=lost)

    def _log_counts(self, unlogged: Iterable[tuple[Window, int]]) -> None:
        for window, count in unlogged:
            self._log.info(
                "requests-refused",
                first_request_id=window.id,
                code=window.code,
                status=window.status,
                reason=window.reason,
                workflow=window.workflow,
                client_address=window.client_address,
                count=count,
            )

    async def _write_changed(self) -> None:
        changed = self._windows.changed()
        try:
            for start in range(0, len(changed), BATCH):
                await self._write_rows(changed[start : start + BATCH])
            begun = self._begun
            if begun:
                while await self._write(partial(trim, most_rows=self._most_rows)) == BATCH:
                    pass
                self._begun -= begun
        except Exception as error:  # any fault of the database: it is tried again
            if not self._failing:
                self._log.warning("refusals-not-written", error=type(error).__name__, rows=len(changed))
            self._failing = True
        else:
            self._failing = False

    async def _write_rows(self, windows: Sequence[Window]) -> None:
        rows = [row(window) for window in windows]
        for window in windows:
            window.changed = False  # later refusals set it again
        try:
            await self._write(partial(upsert, rows=rows))
        except BaseException:
            for window in windows:
                window.changed = True
            raise

    async def _examine_all(self) -> None:
        while True:
            window, refusal = await self._unexamined.get()
            try:
                async with asyncio.timeout(EXAMINE_SECONDS):
                    found = await self._examine(refusal)
                if found is not None:
                    checks, claimed = found
                    # What is not a check of the token follows: the problem, or a condition of the request.
                    made = {check.name for check in checks}
                    window.found([*checks, *(each for each in refusal.checks if each.name not in made)], claimed)
            except Exception as error:  # the checks that the pipeline made stay recorded
                self._log.warning("refusal-not-examined", error=type(error).__name__, request_id=window.id)
            finally:
                window.examined = True
                del refusal  # and the token with it


def row(window: Window) -> Row:
    """The row of a window, for `schema.refusals`."""
    if window.texts is None:  # it is written each second of a flood, and only its count has changed
        window.texts = _claimed(window), _checks(window)
    claimed, checks = window.texts
    return {
        "id": window.id,
        "reason": window.reason,
        "code": window.code,
        "status": window.status,
        "workflow": window.workflow,
        "client_address": window.client_address,
        "first_at": window.first_at,
        "last_at": window.last_at,
        "count": window.count,
        "request_ids": " ".join(window.request_ids),
        "claimed": claimed,
        "via": window.via.kind if window.via is not None else None,
        "via_client": via_client(window.via) if window.via is not None else None,
        "checks": checks,
    }


def upsert(connection: Connection, rows: Sequence[Row]) -> int:
    """Insert or replace rows. A row with a higher count stays, because an operation may be repeated late. Returns the
    number of given rows."""
    statement = insert_into(connection.dialect.name, schema.refusals)
    statement = statement.on_conflict_do_update(
        index_elements=["id"],
        where=schema.refusals.c["count"] <= statement.excluded["count"],
        set_={name: statement.excluded[name] for name in ("last_at", "count", "request_ids", "claimed", "checks")},
    )
    connection.execute(statement, list(rows))
    return len(rows)


def trim(connection: Connection, most_rows: int) -> int:
    """Delete the oldest rows above the limit, at most BATCH of them. Returns how many were deleted."""
    ids = schema.refusals.c.id
    newest_too_many = connection.scalar(select(ids).order_by(ids.desc()).offset(most_rows).limit(1))
    if newest_too_many is None:
        return 0
    oldest = connection.scalars(select(ids).where(ids <= newest_too_many).order_by(ids).limit(BATCH)).all()
    connection.execute(delete(schema.refusals).where(ids.in_(oldest)))
    return len(oldest)


def _without_tokens(value: Any) -> Any:
    return without_tokens(value) if isinstance(value, str) else value


def _claimed(window: Window) -> str | None:
    if not window.claimed:
        return None
    return json.dumps({name: _without_tokens(value) for name, value in window.claimed.items()})


def _checks(window: Window) -> str:
    return json.dumps(
        [
            {
                "name": check.name,
                "passed": check.passed,
                "expected": _without_tokens(as_text(check.expected)),
                "found": _without_tokens(as_text(check.found)),
                **({"hint": _without_tokens(check.hint)} if check.hint else {}),
            }
            for check in window.checks
        ]
    )
