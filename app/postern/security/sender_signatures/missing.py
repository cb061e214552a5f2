"""Looks for secrets of senders that are missing, so that their workflows are reported as faults before a request
comes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import anyio

from postern.access import Signed
from postern.catalog import Snapshot
from postern.security.sender_signatures.check import SecretUnread

EVERY = 10.0
"""Seconds between two looks. One asks for the secrets of workflows that were not read yet, and for missing ones."""


class MissingSecrets:
    """Called, it returns why each missing secret cannot be read, by its name in lower case. A secret that was read once
    is not looked for again: if it goes later, requests get 503."""

    def __init__(self) -> None:
        self._missing: Mapping[str, str] = MappingProxyType({})
        self._read: set[str] = set()

    def __call__(self) -> Mapping[str, str]:
        """What is missing now. It does not change; a later look makes another one."""
        return self._missing

    async def look(self, snapshot: Snapshot, read: Callable[[str], Awaitable[str]]) -> None:
        """Ask for the secrets that are not known yet. One that cannot be asked for now is not missing."""
        missing: dict[str, str] = {}
        for name in sorted({name.lower() for name in (*secrets_of(snapshot), *self._missing)} - self._read):
            try:
                await read(name)
            except SecretUnread as error:
                if error.missing or name in self._missing:
                    missing[name] = str(error) if error.missing else self._missing[name]
            else:
                self._read.add(name)
        if missing != self._missing:
            self._missing = MappingProxyType(missing)

    async def run(
        self,
        snapshot: Callable[[], Snapshot],
        read: Callable[[str], Awaitable[str]],
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
    ) -> None:
        """Look until cancelled."""
        while True:
            await self.look(snapshot(), read)
            await sleep(EVERY)


def secrets_of(snapshot: Snapshot) -> Iterable[str]:
    """The names of the secrets of all senders."""
    policies = (trigger.policy for trigger in snapshot.triggers.values())
    return [
        name
        for policy in policies
        if isinstance(policy, Signed) and policy.by is not None
        for name in policy.by.secrets
    ]
