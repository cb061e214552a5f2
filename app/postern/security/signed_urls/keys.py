"""The two keys of a workflow's signed URLs, from Key Vault. Each is a secret of 32 bytes in base64url."""

import asyncio
import binascii
import re
import secrets
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Literal, Protocol

from postern.errors import Problem, problem

KEY_BYTES = 32
KeyName = Literal["primary", "secondary"]
KEY_NAMES: tuple[KeyName, KeyName] = ("primary", "secondary")

MISSING_SECONDS = 60.0
"""Seconds for which a key that could not be read is not looked for again by requests that need no other key."""
AGAIN_SECONDS = 5.0
"""Seconds between two reads of a workflow's keys because a signature fitted none of them. A flood of wrong signatures
must not become a flood of requests to the vault."""

_BASE64 = re.compile(r"[A-Za-z0-9_+/-]+={0,2}")

Make = Callable[[str], None]
"""Makes a secret of this name in a vault that is Postern's own, as the local tenant's is."""


class Secrets(Protocol):
    """Reads secrets. None if the vault has no secret of this name. Raises Problem if it cannot be asked."""

    def __call__(self, name: str, /, *, fresh: bool) -> Awaitable[str | None]:
        """The value of a secret: cached for a short time, or as the vault has it now."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that were found, by their names. `problem` is why one could not be read, None if each was found or is
    known not to exist."""

    found: Mapping[KeyName, bytes] = field(repr=False)
    problem: Problem | None = None


def secret_name(workflow: str, key: KeyName) -> str:
    """The secret's name in Key Vault."""
    return f"postern-url-{workflow}-{key}"


def key_in(value: str) -> bytes | None:
    """The key that a secret's value is, in either alphabet of base64; None if it is none. White space around it, which
    editors add, is ignored."""
    text = value.strip()
    if not _BASE64.fullmatch(text):
        return None
    plain = text.rstrip("=").translate(str.maketrans("+/", "-_"))
    try:
        key = urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return None
    return key if len(key) == KEY_BYTES else None


class UrlKeys:
    """The keys of all workflows. `make` makes a key that is missing, where the vault is the local tenant's. An object
    belongs to one event loop."""

    def __init__(self, read: Secrets, *, make: Make | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._make = make
        self._clock = clock
        self._missing: dict[str, tuple[float, Problem | None]] = {}
        self._again: dict[str, tuple[float, asyncio.Task[Keys]]] = {}
        self.dummy = secrets.token_bytes(KEY_BYTES)
        """A key that is known to nobody, in place of one that is missing: each check takes the same time."""

    async def of(self, workflow: str) -> Keys:
        """Both keys, as far as they are known or can be read."""
        return await self._keys(workflow, fresh=False)

    async def again(self, workflow: str) -> Keys:
        """Both keys as the vault has them now, because a signature fitted none of those known. They are read for this
        reason once in AGAIN_SECONDS, for all requests together."""
        now = self._clock()
        began, reading = self._again.get(workflow, (float("-inf"), None))
        if reading is not None and (not reading.done() or now < began + AGAIN_SECONDS):
            return await (asyncio.shield(reading) if not reading.done() else self.of(workflow))
        # In its own task: the first request may be cancelled while others wait for the same keys.
        reading = asyncio.get_running_loop().create_task(self._keys(workflow, fresh=True), context=Context())
        self._again[workflow] = now, reading
        return await asyncio.shield(reading)

    async def to_sign(self, workflow: str, key: KeyName) -> bytes:
        """The key as the vault has it now: one that was replaced must sign nothing any more. Raises Problem."""
        name = secret_name(workflow, key)
        value = await self._read(name, fresh=True)
        if value is None and self._make is not None:
            self._make(name)
            value = await self._read(name, fresh=True)
        if value is None:
            reason = f"the Key Vault has no secret {name}"
            raise problem("signing-key-unavailable", reason=reason, detail=f"The Key Vault has no secret {name}.")
        found = key_in(value)
        if found is None:
            raise _no_key(name)
        self._missing.pop(name, None)
        return found

    async def _keys(self, workflow: str, *, fresh: bool) -> Keys:
        found: dict[KeyName, bytes] = {}
        why: Problem | None = None
        for key in KEY_NAMES:
            name = secret_name(workflow, key)
            until, known = self._missing.get(name, (float("-inf"), None))
            if not fresh and self._clock() < until:
                why = known or why
                continue
            try:
                value = await self._read(name, fresh=fresh)
                unfit = _no_key(name) if value is not None and key_in(value) is None else None
            except Problem as away:
                value, unfit = None, away
            if value is None or unfit is not None:
                self._missing[name] = self._clock() + (AGAIN_SECONDS if unfit else MISSING_SECONDS), unfit
                why = unfit or why
                continue
            self._missing.pop(name, None)
            found[key] = key_in(value) or b""
        return Keys(found, why)


def _no_key(name: str) -> Problem:
    detail = f"The secret {name} is not {KEY_BYTES} bytes in base64."
    return problem("signing-key-unavailable", reason=detail, detail=detail)
