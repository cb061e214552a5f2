"""The secret of one entry of `postern.toml`. Its faults name the entry and the key."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret, Secrets
from postern.settings import SecretReference

AGAIN_SECONDS = 5.0
"""For this long after a fresh read returned the same value, a rejected secret is not read again. Otherwise an API that
always rejects it would cause a vault request at each call."""

SETTINGS = {"POSTERN_CLIENT_ID": "POSTERN_CLIENT_SECRET_NAME"}
"""The setting that names the secret of an entry which is not in `postern.toml`: Postern's own application."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class EntrySecret:
    """The secret that the key `key` of the entry `entry` refers to."""

    def __init__(
        self,
        entry: str,
        key: str,
        reference: SecretReference,
        secrets: Secrets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.entry = SETTINGS.get(entry, entry)
        self.key = key
        self.name = reference.key_vault
        self._secrets = secrets
        self._clock = clock
        self._not_before = float("-inf")
        self._reading = asyncio.Lock()

    async def read(self) -> Secret:
        """The secret. Raises ConnectionFault that names the entry."""
        try:
            return await self._secrets.read(self.name)
        except ConnectionFault as fault:
            named = self._named(fault)
        raise named  # outside of the handler, so that it has no context

    async def read_again(self, refused: str) -> Secret:
        """The secret that is in the vault now. Raises ConnectionFault that names the entry."""
        try:
            return await self._secrets.read_again(self.name, refused)
        except ConnectionFault as fault:
            named = self._named(fault)
        raise named

    async def another(self, refused: str) -> Secret | None:
        """The secret if its value differs from the rejected one; None if it is the same. Concurrent callers share one
        read."""
        async with self._reading:
            secret = await self.read()
            if secret.value == refused and self._clock() >= self._not_before:
                secret = await self.read_again(refused)
                if secret.value == refused:
                    self._not_before = self._clock() + AGAIN_SECONDS
        return secret if secret.value != refused else None

    def line(self, secret: Secret) -> str:
        """Its value, which must be one line of text. Raises ConnectionFault if it is not: most often a secret was
        stored with a line end."""
        value = secret.value
        if value and value == value.strip() and not _CONTROL.search(value):
            return value
        wrong = "is empty" if not value.strip() else "has white space or a line end around it, or a control character"
        raise self.fault(wrong, f"Store {self.name!r} in Key Vault again, as one line without white space around it")

    def fault(self, wrong: str, fix: str) -> ConnectionFault:
        """A fault of this secret."""
        return ConnectionFault(
            self.entry, f"has a {self.key} that cannot be used: the secret {self.name!r} {wrong}", fix
        )

    def stage(self, secret: Secret) -> Stage:
        """A stage that shows the secret's name and its expiry date."""
        if secret.expires_on is None:
            return Stage("secret", passed=True, detail=f"{self.name} ({self.key}), no expiry date")
        day = datetime.fromtimestamp(secret.expires_on, UTC).date()
        return Stage("secret", passed=True, detail=f"{self.name} ({self.key}), expires on {day}")

    def _named(self, fault: ConnectionFault) -> ConnectionFault:
        return ConnectionFault(self.entry, f"cannot read its {self.key}: {fault.entry} {fault.wrong}", fault.fix)


def failed(name: str, fault: ConnectionFault) -> Stage:
    """A failed stage."""
    return Stage(name, passed=False, detail=f"{fault.entry} {fault.wrong}", fix=fault.fix)
