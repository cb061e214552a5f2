"""Seals the tokens of grants: AES-256-GCM with a key from Key Vault, bound to the connection and the owner.

A value that is put into another row, or another column, does not open. `key_version` is the vault's version of the key:
a new version seals what is written from then on, and older versions open what they sealed.
"""

from typing import Protocol

from postern.connections.grants.tokens import GrantTokens


class CannotOpen(Exception):
    """A sealed value that does not open: it was changed, is of another row, or its key is gone from the vault."""


class Keys(Protocol):
    """The versions of the key (POSTERN_GRANTS_KEY_NAME). Both raise ConnectionFault if the vault is away."""

    async def newest(self) -> tuple[str, bytes]:
        """The version that seals, and its 32 bytes. It is read again after a short time, as other secrets are."""

    async def of(self, version: str) -> bytes:
        """The 32 bytes of a version. Raises CannotOpen if the vault has no such version."""


class Seal:
    """Seals and opens."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def seal(self, name: str, owner: str, tokens: GrantTokens) -> tuple[str, str]:
        """The sealed tokens, and the version of the key. Raises ConnectionFault."""
        raise NotImplementedError

    async def open(self, name: str, owner: str, sealed: str, key_version: str) -> GrantTokens:
        """The tokens. Raises CannotOpen, and ConnectionFault if the vault is away."""
        raise NotImplementedError
