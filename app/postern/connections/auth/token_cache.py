"""Tokens for outgoing calls: concurrent callers share one request, and tokens stay in memory until shortly before they
expire."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field

import structlog

from postern.connections.faults import ConnectionFault

EARLY_SECONDS = 300.0
"""A token is renewed this long before it expires, or after four fifths of its lifetime if that is shorter."""
EARLY_PART = 0.2
RENEWAL_SECONDS = 30.0
"""A younger token is not renewed when an API rejects it. Otherwise an API that always rejects would cause a token
request at each call. After a failed early renewal, the next attempt is this much later."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and the seconds from now for which it is valid."""

    value: str = field(repr=False)
    seconds: float


class Tokens:
    """The token of one entry. `fetch` requests a new one and has its own time limit. Its errors are raised to all
    callers that wait for it. An object belongs to one event loop."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value = ""
        self._since = self._early = self._until = 0.0
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
        """A token other than the rejected one; None if the rejected one is too new to be renewed."""
        if self._value == refused:
            if self._clock() - self._since < RENEWAL_SECONDS:
                return None
            self._value = ""
        token = await self.token()
        return token if token != refused else None

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
            return await asyncio.shield(self._renewal)
        except ConnectionFault as shared:
            fault = shared.own()
        raise fault

    async def _renew(self) -> str:
        try:
            token = await self._fetch()
        finally:
            self._renewal = None
        self._value, self._since = token.value, self._clock()
        self._until = self._since + token.seconds
        self._early = self._until - min(EARLY_SECONDS, token.seconds * EARLY_PART)
        return token.value


def _retrieved(task: "asyncio.Task[str]") -> None:
    """Mark the task's error as seen: all callers that waited for it may have been cancelled."""
    if not task.cancelled():
        task.exception()
