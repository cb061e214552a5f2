"""The versions of a key that seals, from Key Vault: a secret whose value is 32 random bytes in base64url."""

import binascii
import re
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import KEY_BYTES, KeyGone
from postern.connections.vault.secret import NoSuchVersion, Secret, VersionedSecrets
from postern.settings.sealing import MAKES_A_KEY


class KeySetting(NamedTuple):
    """The setting that names a key, and what needs it."""

    name: str
    needed_by: str

    @property
    def how_to_make(self) -> str:
        """How an operator makes the key."""
        return f"Make one, for example with `{MAKES_A_KEY}`, put it into the Key Vault, and name it in {self.name}"


GRANTS_KEY = KeySetting("POSTERN_GRANTS_KEY_NAME", "granted connections need it")
DURABLE_KEY = KeySetting("POSTERN_DURABLE_KEY_NAME", "sealed durable runs need it")

KEPT = 32
"""Versions that are kept in memory. They never change, so they serve also while the vault is unavailable."""

GONE_SECONDS = 10.0
"""Seconds for which a version counts as gone until the vault is asked again: it would be asked for each call of a run
whose grant does not open, and for each such grant in the background."""

_GONE = "its key is not in the vault any more"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class VaultKeys:
    """The versions of the secret `name` in the vault, which `setting` names. An object belongs to one event loop."""

    def __init__(
        self, vault: VersionedSecrets, name: str, setting: KeySetting, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._vault = vault
        self._name = name
        self._setting = setting
        self._clock = clock
        self._gone: OrderedDict[str, float] = OrderedDict()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def newest(self) -> tuple[str, bytes]:
        """The latest version, as the vault caches it. Raises ConnectionFault."""
        secret = await self._vault.read(self._set_name)
        key = key_in(secret.value)
        if key is None:
            raise ConnectionFault(
                self._setting.name,
                f"names the secret {self._name}, whose value is not {KEY_BYTES} bytes in base64url",
                self._setting.how_to_make,
            )
        return secret.version, self._keep(secret, key)

    async def of(self, version: str) -> bytes:
        """A version, from memory or the vault. Raises KeyGone if the vault has other versions only, and
        ConnectionFault if it has none, or is unavailable."""
        kept = self._kept.get(version)
        if kept is not None:
            self._kept.move_to_end(version)
            return kept
        newest, key = await self.newest()  # so that a wrong address of the vault is not taken for a lost key
        if version == newest:
            return key
        if self._clock() < self._gone.get(version, 0.0):
            raise KeyGone(_GONE)
        try:
            secret = await self._vault.read_version(self._set_name, version)
        except NoSuchVersion:
            self._note_gone(version)
            raise KeyGone(_GONE) from None
        found = key_in(secret.value)
        if found is None:
            raise KeyGone("its key is not a key")
        return self._keep(secret, found)

    @property
    def _set_name(self) -> str:
        if not self._name:
            wrong = f"is not set, and {self._setting.needed_by}"
            raise ConnectionFault(self._setting.name, wrong, self._setting.how_to_make)
        return self._name

    def _note_gone(self, version: str) -> None:
        self._gone[version] = self._clock() + GONE_SECONDS
        self._gone.move_to_end(version)
        if len(self._gone) > KEPT:
            self._gone.popitem(last=False)

    def _keep(self, secret: Secret, key: bytes) -> bytes:
        self._kept[secret.version] = key
        self._kept.move_to_end(secret.version)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return key


def key_in(value: str) -> bytes | None:
    """The key that a secret's value is, None if it is none. A line break at its end, which editors add, is ignored."""
    text = value.strip()
    if not _BASE64URL.fullmatch(text):
        return None
    try:
        key = urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        return None
    return key if len(key) == KEY_BYTES else None
