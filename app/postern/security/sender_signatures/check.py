"""Checks requests by the signature of their sender, with secrets of the Key Vault."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from postern.access import Caller, SenderSignature
from postern.errors import Problem, problem
from postern.security.sender_signatures.verification import Claim, claimed, fits, mismatch

LARGE = 256 * 1024
"""Bytes of a body above which its HMAC is computed in a thread."""

AGAIN = 10.0
"""Seconds in which a secret that could not be read is not asked for again, however many requests come."""

DETAIL = "The signature of the sender cannot be checked at the moment."


class SecretUnread(Exception):
    """A secret that cannot be read. The message says why, and how to fix it; it has no value. `missing` says that
    waiting does not help: the vault has no such secret, or does not let Postern read it."""

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class SenderSecrets:
    """Where the secrets are. `read` returns the value of a secret, which is cached for a short time. `read_again`
    returns the current value after the given one fitted no signature; it asks the vault once in a while only. Both
    raise SecretUnread."""

    read: Callable[[str], Awaitable[str]]
    read_again: Callable[[str, str], Awaitable[str]]


class SenderCheck:
    """Checks the signature of each request for a trigger that asks for one. It belongs to one event loop."""

    def __init__(
        self,
        secrets: SenderSecrets,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._now = now
        self._clock = clock
        self._unread: dict[str, tuple[float, SecretUnread]] = {}

    async def check(self, way: SenderSignature, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Raises Refused if the request is not signed by the sender, and Problem `identity-unavailable` if that cannot
        be checked."""
        claim = claimed(way, headers, self._now())
        read, unread = await self._read(way.secrets)
        if await self._fits(way, claim, body, tuple(read.values())):
            return
        fresh = {}
        for name, value in read.items():
            try:
                newer = await self._secrets.read_again(name, value)
            except SecretUnread as error:
                unread = error
                continue
            if newer != value:
                fresh[name] = newer
        if fresh and await self._fits(way, claim, body, tuple(fresh.values())):
            return
        if unread is not None:
            raise unavailable(unread)
        raise mismatch(way)

    async def _read(self, names: Iterable[str]) -> tuple[dict[str, str], SecretUnread | None]:
        """The secrets that can be read, and why another one cannot. While a secret is replaced, one of two is
        enough."""
        read: dict[str, str] = {}
        unread: SecretUnread | None = None
        for name in names:
            until, error = self._unread.get(name, (0.0, None))
            if error is None or self._clock() >= until:
                try:
                    value = await self._secrets.read(name)
                    if value:
                        read[name] = value
                        self._unread.pop(name, None)
                        continue
                    error = SecretUnread(f"the secret {name} is empty. Put a new version of it there", missing=True)
                except SecretUnread as raised:
                    error = raised
                self._unread[name] = (self._clock() + AGAIN, error)
            unread = error
        return read, unread

    async def _fits(self, way: SenderSignature, claim: Claim, body: bytes, secrets: tuple[str, ...]) -> bool:
        if len(body) > LARGE and secrets:
            return await asyncio.to_thread(fits, way, claim, body, secrets)
        return fits(way, claim, body, secrets)


def unavailable(unread: SecretUnread) -> Problem:
    """The 503 for a signature that cannot be checked. The caller sees a constant sentence."""
    headers = {"Retry-After": str(int(AGAIN))}
    return problem("identity-unavailable", detail=DETAIL, reason=str(unread), headers=headers)


def sender(way: SenderSignature) -> Caller:
    """The caller of a request that is signed by its sender: an anonymous one, named after the sender. The signature
    itself is checked when the body was read."""
    return Caller("anonymous", name=way.sender)
