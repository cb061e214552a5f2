"""Seals the tokens of grants, bound to the connection and the owner (`connections/sealing/`).

Where the tokens go is sealed with them: they do not open for an entry that has been written for another place since.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from postern.connections.grants.tokens import GrantTokens
from postern.connections.sealing.sealed_text import CannotOpen, Keys, opened_text, sealed_text


class Moved(CannotOpen):
    """Tokens that were given for another provider, client or API than the entry has now."""

    reason = "moved"


Places = Callable[[str], str]
"""Where the tokens of a grant's name go now (`places.py`)."""


class Seal:
    """Seals and opens, for the places where the tokens go now. Without `places` each value opens and keeps its own: for
    a caller that sends the tokens nowhere."""

    def __init__(self, keys: Keys, places: Places | None = None) -> None:
        self._keys = keys
        self._places = places

    async def prepare(self) -> "Sealer":
        """What seals tokens later, and cannot fail then: for before they are requested. Raises ConnectionFault."""
        version, key = await self._keys.newest()
        return Sealer(version, key, self._places)

    async def seal(self, name: str, owner: str, tokens: GrantTokens) -> tuple[str, str]:
        """The sealed tokens, and the version of the key. Raises ConnectionFault."""
        return (await self.prepare()).seal(name, owner, tokens)

    async def open(self, name: str, owner: str, sealed: str, key_version: str) -> GrantTokens:
        """The tokens. Raises CannotOpen, and ConnectionFault if the vault is unavailable."""
        tokens = opened(await self._keys.of(key_version), name, owner, sealed)
        if self._places is not None and tokens.place != self._places(name):
            raise Moved("it is of another place")
        return tokens


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals with one version of the key."""

    key_version: str
    key: bytes = field(repr=False)
    places: Places | None = field(default=None, repr=False)

    def seal(self, name: str, owner: str, tokens: GrantTokens) -> tuple[str, str]:
        """The sealed tokens, and the version of the key."""
        if self.places is not None:
            tokens = replace(tokens, place=self.places(name))
        return sealed(self.key, name, owner, tokens), self.key_version


def sealed(key: bytes, name: str, owner: str, tokens: GrantTokens) -> str:
    """The tokens of this grant, sealed by a key of KEY_BYTES."""
    clear = json.dumps([tokens.access_token, tokens.refresh_token, tokens.place]).encode()
    return sealed_text(key, ("grants.sealed", name, owner), clear)


def opened(key: bytes, name: str, owner: str, sealed: str) -> GrantTokens:
    """What `sealed` made for this grant with this key. Raises CannotOpen."""
    access_token, refresh_token, place = json.loads(opened_text(key, ("grants.sealed", name, owner), sealed))
    return GrantTokens(access_token, refresh_token, place)
