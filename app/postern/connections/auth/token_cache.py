"""Tokens for calls out: fetched once however many ask, and kept in memory until shortly before they expire."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from postern.connections.faults import ConnectionFault

EARLY_SECONDS = 300.0
"""A token is fetched anew so long before it expires, or after four fifths of its life where that is less."""
EARLY_PART = 0.2
RENEWAL_SECONDS = 30.0
"""A token that is younger is not fetched anew because somebody refuses it: who always does would otherwise have the
token endpoint asked at each call. As long, a token that could not be fetched early is done without."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and for how many seconds from now on it is valid."""

    value: str = field(repr=False)
    seconds: float


class Tokens:
    """The token of one entry. `fetch` asks for a new one, and has a time limit of its own; what it raises is raised to
    everybody who waits for it. It belongs to one event loop."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value = ""
        self._since = self._early = self._until = 0.0
        self._asking: asyncio.Task[str] | None = None

    async def token(self) -> str:
        """The token at hand, or a new one. One that is still valid serves on where a new one cannot be had yet."""
        if self._value and self._clock() < self._early:
            return self._value
        try:
            return await self._asked()
        except ConnectionFault as fault:
            if not self._value or self._clock() >= self._until:
                raise
            if self._clock() >= self._early:
                self._early = self._clock() + RENEWAL_SECONDS
                structlog.get_logger("postern").warning("token-not-renewed", entry=fault.entry, wrong=fault.wrong)
            return self._value

    async def renewed(self, refused: str) -> str | None:
        """Another token than the one that was refused; None where there is none, because this one is quite new."""
        if self._value == refused:
            if self._clock() - self._since < RENEWAL_SECONDS:
                return None
            self._value = ""
        token = await self.token()
        return token if token != refused else None

    async def aclose(self) -> None:
        """Give up the request that is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _asked(self) -> str:
        # A task of its own: who asked first may be cancelled while others wait for the same answer.
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_retrieved)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str:
        try:
            token = await self._fetch()
        finally:
            self._asking = None
        self._value, self._since = token.value, self._clock()
        self._until = self._since + token.seconds
        self._early = self._until - min(EARLY_SECONDS, token.seconds * EARLY_PART)
        return token.value


def _retrieved(task: "asyncio.Task[str]") -> None:
    """Everybody who waited may be gone: then nobody looks at its error."""
    if not task.cancelled():
        task.exception()
