"""Tokens for outgoing calls: concurrent callers share one request, and tokens stay in memory until shortly before they
expire."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field

import structlog

from postern.connections.faults import ConnectionFault
from postern.telemetry.spans import span

EARLY_SECONDS = 300.0
"""A token is renewed this long before it expires, or after four fifths of its lifetime if that is shorter."""
EARLY_PART = 0.2
RENEWAL_SECONDS = 30.0
"""Within this time, rejected tokens are renewed a few times only. Otherwise an API that always rejects would cause a
token request at each call. After a failed early renewal, the next attempt is this much later."""
REPLACEMENTS = 3
"""How many tokens in a row are replaced before one is accepted, if the API has accepted one before. Where another
process has the provider issue a token, and only the newest is valid, a token may end before its first use."""
MOST_RENEWALS = 30
"""Rejected tokens that are renewed within RENEWAL_SECONDS, even if each was accepted before."""
QUIET = 600.0
"""Seconds between two warnings about one entry."""
_CONTESTED = (
    "tokens are rejected soon after they were accepted: another process or program may request tokens for the same "
    "client, and the provider keeps only the newest; give each a client of its own, or run one process"
)
RIVAL_SECONDS = 0.2
"""The longest wait before a second replacement, which doubles: two processes then do not replace each other's tokens in
step."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and the seconds from now for which it is valid."""

    value: str = field(repr=False)
    seconds: float


class Tokens:
    """The token of `entry`. `fetch` requests a new one and has its own time limit. Its errors are raised to all
    callers that wait for it. An object belongs to one event loop."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Token]],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        entry: str = "",
    ) -> None:
        self._entry = entry
        self._warned = float("-inf")
        self._fetch = fetch
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._accepted = ""
        self._worked = False
        self._unproved = 0
        self._renewals: deque[float] = deque(maxlen=MOST_RENEWALS)
        self._value = ""
        self._early = self._until = 0.0
        self._renewal: asyncio.Task[str] | None = None

    async def token(self) -> str:
        """The cached token, or a new one. If the renewal fails, a token that is still valid stays in use."""
        if self._value and self._clock() < self._early:
            return self._value
        try:
            return await self._renewed()
        except ConnectionFault as fault:
            if not self._value or self._clock() >= self._until:
                raise
            if self._clock() >= self._early:
                self._early = self._clock() + RENEWAL_SECONDS
                structlog.get_logger("postern").warning("token-not-renewed", entry=fault.entry, wrong=fault.wrong)
            return self._value

    async def renewed(self, refused: str) -> str | None:
        """A token other than the rejected one; None if too many were renewed of late."""
        if self._value == refused and self._may_renew() and self._unproved:
            await self._sleep(self._uniform(0.0, RIVAL_SECONDS * 2.0**self._unproved))
        if self._value == refused:  # still: it is not renewed for each of those that wait
            if not self._may_renew():
                return None
            self._renewals.append(self._clock())
            self._unproved += 1
            self._value = ""
        token = await self.token()
        return token if token != refused else None

    def accepted(self, token: str) -> None:
        """Note that an API accepted this token."""
        if token != self._accepted:
            self._accepted, self._worked, self._unproved = token, True, 0

    def _may_renew(self) -> bool:
        """Whether a rejected token may be renewed now: the first, and some more if rejected tokens were good before."""
        since = self._clock() - RENEWAL_SECONDS
        if not self._renewals or self._renewals[-1] <= since:
            self._unproved = 0
            return True
        if len(self._renewals) == MOST_RENEWALS and self._renewals[0] > since:
            self._warn()
            return False
        return self._unproved < (REPLACEMENTS if self._worked else 1)

    def _warn(self) -> None:
        now = self._clock()
        if now - self._warned >= QUIET:
            self._warned = now
            structlog.get_logger("postern").warning("token-contested", entry=self._entry, fix=_CONTESTED)

    async def aclose(self) -> None:
        """Cancel the token request in progress."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _renewed(self) -> str:
        # In its own task: the first caller may be cancelled while others wait for the same token. In its own context:
        # it belongs to no single run.
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_task(self._renew(), context=Context())
            self._renewal.add_done_callback(_retrieved)
        try:
            with span("token", "client") as going:
                going.set("postern.entry", self._entry)
                return await asyncio.shield(self._renewal)
        except ConnectionFault as shared:
            fault = shared.own()
        raise fault

    async def _renew(self) -> str:
        try:
            token = await self._fetch()
        finally:
            self._renewal = None
        self._value = token.value
        self._until = self._clock() + token.seconds
        self._early = self._until - min(EARLY_SECONDS, token.seconds * EARLY_PART)
        return token.value


def _retrieved(task: "asyncio.Task[str]") -> None:
    """Mark the task's error as seen: all callers that waited for it may have been cancelled."""
    if not task.cancelled():
        task.exception()
