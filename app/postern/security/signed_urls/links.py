"""Which signed URLs are valid, as the table says, and how often each is used. Both in memory, with bounds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import anyio
import structlog
from sqlalchemy import Connection

from postern.errors import Problem
from postern.journal import signed_urls
from postern.journal.signed_urls import SignedUrl, Use

FRESH = 0.5
"""Seconds for which a row in memory is used. So a URL that was revoked is refused within a second by all server
processes."""
STALE = 30.0
"""The same while the database does not answer. After that, requests with a signed URL get 503."""
FLUSH_SECONDS = 5.0
"""Seconds between two writes of the uses."""
MOST_KEPT = 10_000
"""Rows in memory. Only ids of URLs whose signature was verified get there."""

T = TypeVar("T")
_log = structlog.get_logger("postern.signed-urls")


class Read(Protocol):
    """Reads from the journal."""

    async def __call__(self, query: Callable[[Connection], T], /) -> T: ...


@dataclass(slots=True)
class _Known:
    row: SignedUrl | None
    read_at: float


class Links:
    """The rows of signed URLs that are in use. `read` and `write` are the journal's. It belongs to one event loop."""

    def __init__(
        self,
        read: Read,
        write: Callable[[Callable[[Connection], None]], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._read = read
        self._write = write
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._reading: dict[tuple[str, str], asyncio.Task[SignedUrl | None]] = {}
        self._uses: dict[tuple[str, str], tuple[int, float]] = {}

    async def find(self, workflow: str, link: str) -> SignedUrl | None:
        """The row of this id, at most FRESH seconds old; None if there is none. Raises Problem `journal-unavailable` if
        it could not be read for STALE seconds."""
        key = workflow, link
        known = self._known.get(key)
        if known is not None and self._clock() < known.read_at + FRESH:
            return known.row
        reading = self._reading.get(key)
        if reading is None:
            # In its own task and context: its first request may be cancelled while others wait for the same row.
            reading = asyncio.get_running_loop().create_task(self._load(key), context=Context())
            self._reading[key] = reading
            reading.add_done_callback(partial(self._loaded, key))
        try:
            return await asyncio.shield(reading)
        except Problem:
            if known is not None and self._clock() < known.read_at + STALE:
                return known.row
            raise

    def forget(self, workflow: str, link: str) -> None:
        """The row has just been changed here."""
        self._known.pop((workflow, link), None)
        self._reading.pop((workflow, link), None)

    def note_use(self, workflow: str, link: str) -> None:
        """A request came with this URL, and was let in."""
        count, _ = self._uses.get((workflow, link), (0, 0.0))
        self._uses[workflow, link] = count + 1, self._now()

    async def run(self) -> None:
        """Write the uses at intervals, until cancelled."""
        while True:
            await self._sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write the uses that are not written yet. They are kept if the journal is unavailable."""
        taken, self._uses = self._uses, {}
        if not taken:
            return
        uses = [Use(*key, count, at) for key, (count, at) in taken.items()]
        try:
            await self._write(partial(signed_urls.note_uses, uses=uses))
        except Problem:
            for (workflow, link), (count, at) in taken.items():
                more, later = self._uses.get((workflow, link), (0, at))
                self._uses[workflow, link] = count + more, later
        except Exception as error:
            _log.error("signed-url-uses-not-written", cause=type(error).__name__)

    async def aclose(self) -> None:
        """Write the rest."""
        with suppress(Problem):
            await self.flush()

    def _loaded(self, key: tuple[str, str], reading: "asyncio.Task[SignedUrl | None]") -> None:
        if self._reading.get(key) is reading:
            del self._reading[key]
        if not reading.cancelled():
            reading.exception()  # nothing may wait for it any more

    async def _load(self, key: tuple[str, str]) -> SignedUrl | None:
        began = self._clock()
        row = await self._read(partial(signed_urls.find, workflow=key[0], id=key[1]))
        if self._reading.get(key) is asyncio.current_task():  # else it was changed meanwhile
            self._known[key] = _Known(row, began)
            self._known.move_to_end(key)
            if len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return row
