"""Seals the tokens of grants: AES-256-GCM with a key from Key Vault, bound to the connection and the owner.

Where the tokens go is sealed with them: they do not open for an entry that has been written for another place since.

A value that is put into another row, or another column, does not open. `key_version` is the vault's version of the key:
a new version seals what is written from then on, and older versions open what they sealed.
"""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from postern.connections.grants.tokens import GrantTokens

KEY_BYTES = 32
NONCE_BYTES = 12
"""96 bits, drawn anew for each value (NIST SP 800-38D, section 8.2.2): random ones do for 2^32 values of one key."""

_FORM = "1."
"""In front of each value: how it is sealed."""


class CannotOpen(Exception):
    """A sealed value that does not open: it was changed, is of another row, or its key is gone from the vault."""

    reason = "cannot-open"
    """The code of `reasons.py`."""


class Moved(CannotOpen):
    """Tokens that were given for another provider, client or API than the entry has now."""

    reason = "moved"


Places = Callable[[str], str]
"""Where the tokens of a grant's name go now (`places.py`)."""


class Keys(Protocol):
    """The versions of the key (POSTERN_GRANTS_KEY_NAME). Both raise ConnectionFault if the vault is unavailable."""

    async def newest(self) -> tuple[str, bytes]:
        """The version that seals, and its 32 bytes. It is read again after a short time, as other secrets are."""

    async def of(self, version: str) -> bytes:
        """The 32 bytes of a version. Raises CannotOpen if the vault has no such version."""


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
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    clear = json.dumps([tokens.access_token, tokens.refresh_token, tokens.place]).encode()
    closed = AESGCM(key).encrypt(nonce, clear, _bound_to(name, owner))
    return _FORM + urlsafe_b64encode(nonce + closed).decode()


def opened(key: bytes, name: str, owner: str, sealed: str) -> GrantTokens:
    """What `sealed` made for this grant with this key. Raises CannotOpen."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    whole = _bytes(sealed)
    try:
        clear = AESGCM(key).decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], _bound_to(name, owner))
    except InvalidTag:
        raise CannotOpen("it was changed, or is of another grant") from None
    access_token, refresh_token, place = json.loads(clear)
    return GrantTokens(access_token, refresh_token, place)


def _bound_to(name: str, owner: str) -> bytes:
    """The associated data: which column of which row. A JSON list is unambiguous."""
    return json.dumps(["postern", "grants.sealed", _FORM, name, owner]).encode()


def _bytes(sealed: str) -> bytes:
    """The nonce and what follows it. The text must be exactly what `sealed` wrote: base64 has several texts for one
    value."""
    try:
        whole = urlsafe_b64decode(sealed.removeprefix(_FORM).encode("ascii"))
    except ValueError:
        raise CannotOpen("it is not a sealed value") from None
    if _FORM + urlsafe_b64encode(whole).decode() != sealed or len(whole) <= NONCE_BYTES:
        raise CannotOpen("it is not a sealed value")
    return whole
