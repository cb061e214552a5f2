"""Seals what the database keeps of durable runs, whenever POSTERN_DURABLE_KEY_NAME is set."""

import asyncio
from functools import partial
from hmac import digest
from typing import Protocol

from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen, KeyGone, Keys, opened_text, sealed_text
from postern.errors import Problem, problem
from postern.runs.concurrency import plain_mark


def key_unavailable(fault: ConnectionFault) -> Problem:
    """What a sender gets whose text cannot be sealed now."""
    return problem("durable-key-unavailable", reason=str(fault), headers={"Retry-After": "5"})


_MARKS = b"postern durable marks"
"""What the key of marks is made with: the sealing key itself is used for AES-GCM only."""

LARGE = 64 * 1024
"""Characters of a text that are sealed at once. A longer one is sealed in a thread: it would hold the event loop."""


class Seals(Protocol):
    """Seals and opens the texts of a run. `column` says which one it is: a text opens in its own place only."""

    async def seal(self, run_id: str, column: str, text: str) -> tuple[str, str | None]:
        """The text to keep, and the version of the key; None if there is no key, and it is kept as it is. Raises
        ConnectionFault if the key cannot be read."""

    async def open(self, run_id: str, column: str, kept: str, key_version: str | None) -> str:
        """The text. Raises CannotOpen, and ConnectionFault if the vault is unavailable."""

    async def mark(self, text: str) -> str:
        """A digest of a text, in hexadecimal: equal texts have equal ones. Raises Problem 503 if the key cannot be
        read."""


class NoSeal:
    """Without POSTERN_DURABLE_KEY_NAME, texts are kept as they are. What was sealed before does not open."""

    async def seal(self, run_id: str, column: str, text: str) -> tuple[str, str | None]:
        """The text itself."""
        return text, None

    async def open(self, run_id: str, column: str, kept: str, key_version: str | None) -> str:
        """The text itself. Raises CannotOpen if it is sealed."""
        if key_version is not None:
            raise KeyGone(NO_KEY)
        return kept

    async def mark(self, text: str) -> str:
        """A digest without a secret."""
        return await plain_mark(text)


class KeySeals:
    """Texts are sealed with the newest version of the key. One that is not sealed does not open: who can write the
    database would make the server trust it, the caller of a request among others."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def seal(self, run_id: str, column: str, text: str) -> tuple[str, str | None]:
        """The sealed text, and the version of the key. Raises ConnectionFault."""
        version, key = await self._keys.newest()
        sealed = partial(sealed_text, key, _place(run_id, column), text.encode())
        return (sealed() if len(text) <= LARGE else await asyncio.to_thread(sealed)), version

    async def open(self, run_id: str, column: str, kept: str, key_version: str | None) -> str:
        """The text. Raises CannotOpen, and ConnectionFault if the vault is unavailable."""
        if key_version is None:
            raise CannotOpen(NOT_SEALED)
        opened = partial(opened_text, await self._keys.of(key_version), _place(run_id, column), kept)
        return (opened() if len(kept) <= LARGE else await asyncio.to_thread(opened)).decode()

    async def mark(self, text: str) -> str:
        """An HMAC under a key that is made of the newest version. Raises Problem 503."""
        try:
            _, key = await self._keys.newest()
        except ConnectionFault as fault:
            raise key_unavailable(fault) from None
        return digest(digest(key, _MARKS, "sha256"), text.encode(), "sha256").hex()


NO_KEY = "it is sealed, and POSTERN_DURABLE_KEY_NAME is not set"
NOT_SEALED = "it is not sealed, and POSTERN_DURABLE_KEY_NAME is set"


def _place(run_id: str, column: str) -> tuple[str, str]:
    """What a text is bound to."""
    return f"durable.{column}", run_id
