"""The revocations of this server process: in memory, read from the database twice a second.

A process that could not read them for PATIENCE seconds does not know whose access has ended: it refuses every
authenticated request until it can.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from postern.access import Caller, Revoked
from postern.access.revocation import BACKDATED
from postern.errors import Problem, problem
from postern.journal.revocations import Rule, rules
from postern.security.revocation.decision import Rules, merged, refusing, refusing_since

POLL = 0.5
"""Seconds from one read to the next."""
PATIENCE = 30.0
"""Seconds after the last read from which requests are refused."""
READ_SECONDS = 5.0
"""Seconds that one read may take."""
FIRST_READ = 10.0
"""Seconds that requests wait for the first read, when the server has just started."""

Refuses = Callable[[Caller], bool]
Read = Callable[..., Awaitable[Any]]
"""The journal's `read`."""

log = structlog.get_logger("postern.revocation")


class Revocations:
    """Whose access has ended: `rules`, which others only read. `now` is the time of day, `clock` the monotonic one. It
    belongs to one event loop, and knows nothing until `apply` was called."""

    def __init__(self, *, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._clock = clock
        self.rules: Rules = {}
        self._read_at: float | None = None
        self._tightened_at = float("-inf")
        self._known = asyncio.Event()
        self._listeners: list[Callable[[Refuses], None]] = []

    # Decisions

    def refusing(self, caller: Caller) -> Revoked | None:
        """Why a verified caller is refused now; None if no revocation concerns it. `issued_at` of the caller is when
        its token was issued, or its session begun."""
        return refusing(self.rules, caller, self._now())

    def refuses_owner(self, owner: str, since: float) -> bool:
        """Whether the access of the owner of a grant ("tenant/object", "" if all share it) has ended since it was
        connected. The token by which the person had signed in was dated back."""
        tenant_id, _, object_id = owner.partition("/")
        begun = since - BACKDATED
        return owner != "" and refusing_since(self.rules, tenant_id, object_id, begun, self._now()) is not None

    def check(self, caller: Caller) -> None:
        """Raise Refused if the caller is refused, and Problem `revocations-unavailable` if that is not known now."""
        if caller.kind == "anonymous":
            return
        if not self.known:
            raise unavailable()
        revoked = self.refusing(caller)
        if revoked is not None:
            raise revoked.refused(caller, self._now())

    async def wait(self) -> None:
        """Wait for the first read of a server that has just started. Raises Problem `revocations-unavailable`."""
        if self._known.is_set():
            return
        if self._read_at is None:
            try:
                async with asyncio.timeout(FIRST_READ):
                    await self._known.wait()
            except TimeoutError:
                raise unavailable() from None
            return
        raise unavailable()

    @property
    def known(self) -> bool:
        """Whether they were read lately."""
        return self._known.is_set()

    @property
    def age(self) -> float | None:
        """Seconds since the last read; None before the first one."""
        return None if self._read_at is None else self._clock() - self._read_at

    @property
    def active(self) -> int:
        """How many subjects are revoked."""
        return len(self.rules)

    # Changes

    def on_revoked(self, listener: Callable[[Refuses], None]) -> None:
        """Call the listener after each change that refuses more callers, with what says whether a caller is refused
        now. It drops what it remembers of those, closes their links, and so on. When nothing is known any more, every
        caller is refused."""
        self._listeners.append(listener)

    def apply(self, found: Iterable[Rule], since: float) -> None:
        """Take over what was read from the database. `since` is when the read began, of the monotonic clock: it may
        have missed what was made here meanwhile. A read that began before another one that has ended is left out."""
        if self._read_at is not None and since < self._read_at:
            return
        self._read_at = since
        if since >= self._tightened_at:
            before, self.rules = self.rules, merged(found)
            if any(rule != before.get(key) for key, rule in self.rules.items()):
                self._tell(self._refuses)
        if not self._known.is_set():
            log.info("revocations-read", active=self.active)
            self._known.set()

    def tighten(self, rule: Rule) -> None:
        """Apply a revocation that was made here, at once."""
        self._tightened_at = self._clock()
        before = [Rule(kind, tenant, subject, *known[1:]) for (kind, tenant, subject), known in self.rules.items()]
        self.rules = merged([*before, rule])
        self._tell(self._refuses)

    def close_if_old(self) -> None:
        """Refuse everyone from now on if the last read is too long ago."""
        age = self.age
        if self._known.is_set() and age is not None and age >= PATIENCE:
            self._known.clear()
            log.error("revocations-unavailable", seconds=round(age), effect="authenticated requests get 503")
            self._tell(lambda _: True)

    async def run(self, read: Read, sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep) -> None:
        """Read them again and again, until cancelled."""
        while True:
            await self.look(read)
            await sleep(POLL)

    async def look(self, read: Read) -> None:
        """Read them once. An error is logged when requests are refused because of it."""
        self.close_if_old()  # the process may have been stopped for a while
        since = self._clock()
        left = PATIENCE if self.age is None else PATIENCE - self.age
        seconds = min(READ_SECONDS, left) if left > 0 else READ_SECONDS
        try:
            found = await read(partial(_read, now=self._now()), seconds=seconds)
        except Problem:
            self.close_if_old()
        except Exception as error:  # a row that cannot be understood might be one that refuses
            log.error("revocations-not-read", cause=type(error).__name__)  # noqa: TRY400 - its text may hold a password
            self.close_if_old()
        else:
            self.apply(found, since)

    def _refuses(self, caller: Caller) -> bool:
        return self.refusing(caller) is not None

    def _tell(self, refuses: Refuses) -> None:
        for listener in self._listeners:
            try:
                listener(refuses)
            except Exception:  # one that fails does not keep the others from ending access
                log.exception("revocation-not-applied")


def _read(connection: Connection, now: float) -> list[Rule]:
    return rules(connection, now)


def unavailable() -> Problem:
    """The problem for a process that does not know whose access has ended."""
    return problem("revocations-unavailable", headers={"Retry-After": "5"})
