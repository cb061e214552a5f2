"""Tokens for callers of one entry: each caller's token is exchanged once, however many requests want it, and what came
of it is remembered for that very token.

It is remembered under the SHA-256 of the caller's token, so for no other token, be it the same person's. It is
remembered no longer than the caller's token is valid. A caller's token that is not admitted any more, such as one whose
signing key was revoked, does not get here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field

from postern.connections.auth.token_cache import RENEWAL_SECONDS, Token
from postern.connections.faults import ConnectionFault
from postern.connections.on_behalf_of.caller_token import CallerToken, digest_of, ends_at, value_of

MOST = 1000
"""Callers' tokens of an entry for which one is remembered; the oldest is dropped first."""
EARLY_SECONDS = 60.0
EARLY_PART = 0.2
"""A token is exchanged again this long before it expires, or after four fifths of its lifetime if that is shorter."""


@dataclass(slots=True)
class _Kept:
    """A token and until when it is used, on the monotonic clock."""

    value: str = field(repr=False)
    until: float
    ends: asyncio.TimerHandle


class Exchanges:
    """`fetch` exchanges the text of a caller's token, for one that meets the claims (JSON) that it may get, and has its
    own time limit. An object belongs to one event loop."""

    def __init__(
        self,
        entry: str,
        fetch: Callable[..., Awaitable[Token]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        most: int = MOST,
    ) -> None:
        self._entry = entry
        self._fetch = fetch
        self._clock = clock
        self._now = now
        self._most = most
        self._kept: dict[bytes, _Kept] = {}
        self._renewed: dict[bytes, float] = {}
        self._underway: dict[bytes, asyncio.Task[str]] = {}
        self._forgotten = 0

    async def token(self, caller: CallerToken, claims: str = "") -> str:
        """The token for this caller: the remembered one, or a new one, which meets the claims. Raises
        ConnectionFault."""
        digest = digest_of(caller)
        if not digest:
            raise has_ended(self._entry)
        kept = self._kept.get(digest)
        if kept is not None and self._clock() < kept.until:
            return kept.value
        return await self._exchanged(digest, caller, claims)

    async def renewed(self, caller: CallerToken, refused: str, claims: str = "") -> str | None:
        """A token other than the one that an API rejected, which meets the `claims` of its challenge; None if one was
        exchanged anew for this caller just now."""
        digest = digest_of(caller)
        if not digest:
            return None
        kept = self._kept.get(digest)
        if (kept is None or kept.value == refused) and digest not in self._underway:
            since = self._clock() - RENEWAL_SECONDS
            self._renewed = {known: at for known, at in self._renewed.items() if at > since}
            if digest in self._renewed:
                return None
            self._renewed[digest] = self._clock()
            self._drop(digest)
        token = await self.token(caller, claims)
        return token if token != refused else None

    def forget(self) -> None:
        """Forget everything, also what exchanges in progress come to: those who wait for them get it all the same."""
        self._forgotten += 1
        for digest in list(self._kept):
            self._drop(digest)

    async def aclose(self) -> None:
        """Cancel exchanges in progress, and forget everything."""
        self.forget()
        if self._underway:
            for task in (tasks := list(self._underway.values())):
                task.cancel()
            await asyncio.wait(tasks)

    @property
    def remembered(self) -> int:
        """How many callers' tokens have one."""
        return len(self._kept)

    async def _exchanged(self, digest: bytes, caller: CallerToken, claims: str) -> str:
        # In its own task and context: it belongs to no single run, and the first one may be cancelled while others of
        # the same token wait.
        task = self._underway.get(digest)
        if task is None:
            # The run of this caller may end before the task begins, while others of the same token wait.
            exchange = self._exchange(digest, value_of(caller), ends_at(caller), claims)
            task = asyncio.get_running_loop().create_task(exchange, context=Context())
            self._underway[digest] = task
            task.add_done_callback(_seen)
        try:
            return await asyncio.shield(task)
        except ConnectionFault as shared:
            fault = shared.own()
            shared.with_traceback(None)  # its frames have the caller's token, and would keep it in a circle
        finally:
            del task
        raise fault  # outside of the handler: the frames of the exchange, which hold tokens, are not its context

    async def _exchange(self, digest: bytes, value: str, expires: float, claims: str) -> str:
        forgotten = self._forgotten
        try:
            token = await (self._fetch(value, claims) if claims else self._fetch(value))
        finally:
            self._underway.pop(digest, None)
        good = token.seconds - min(EARLY_SECONDS, token.seconds * EARLY_PART)
        if forgotten == self._forgotten:
            self._keep(digest, token.value, min(good, expires - self._now()))
        return token.value

    def _keep(self, digest: bytes, value: str, seconds: float) -> None:
        self._drop(digest)
        if seconds <= 0:
            return
        while len(self._kept) >= self._most:
            self._drop(next(iter(self._kept)))
        ends = asyncio.get_running_loop().call_later(seconds, self._drop, digest)
        self._kept[digest] = _Kept(value, self._clock() + seconds, ends)

    def _drop(self, digest: bytes) -> None:
        kept = self._kept.pop(digest, None)
        if kept is not None:
            kept.ends.cancel()


def has_ended(entry: str) -> ConnectionFault:
    """The fault of a run that has ended, and left code behind that still uses its client; or whose caller's access an
    operator has ended."""
    return ConnectionFault(
        entry,
        "has no caller any more: the run has ended, or an operator ended the access of its caller",
        "Await each request before the workflow returns",
    )


def _seen(task: "asyncio.Task[str]") -> None:
    """Mark the task's error as seen: all callers that waited for it may have been cancelled."""
    if not task.cancelled():
        task.exception()
