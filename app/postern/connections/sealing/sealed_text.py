"""Seals texts: AES-256-GCM with a key from Key Vault, bound to the place that a text is kept in.

A value that is put into another row, or another column, does not open. The version of the key is kept beside it: a new
version seals what is written from then on, and older versions open what they sealed.
"""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Protocol

KEY_BYTES = 32
NONCE_BYTES = 12
"""96 bits, drawn anew for each value (NIST SP 800-38D, section 8.2.2): random ones do for 2^32 values of one key."""

_FORM = "1."
"""In front of each value: how it is sealed."""


class CannotOpen(Exception):
    """A sealed value that does not open: it was changed, is of another row, or its key is gone from the vault."""

    reason = "cannot-open"
    """The code of `grants/reasons.py`."""


class KeyGone(CannotOpen):
    """Its key is not there: nothing says that the value was changed."""


class Keys(Protocol):
    """The versions of a key. Both raise ConnectionFault if the vault is unavailable."""

    async def newest(self) -> tuple[str, bytes]:
        """The version that seals, and its 32 bytes. It is read again after a short time, as other secrets are."""

    async def of(self, version: str) -> bytes:
        """The 32 bytes of a version. Raises KeyGone if the vault has no such version."""


def sealed_text(key: bytes, place: tuple[str, ...], clear: bytes) -> str:
    """What is to be kept, sealed by a key of KEY_BYTES for its place: the column, and what names the row."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    closed = AESGCM(key).encrypt(nonce, clear, _bound_to(place))
    return _FORM + urlsafe_b64encode(nonce + closed).decode()


def opened_text(key: bytes, place: tuple[str, ...], sealed: str) -> bytes:
    """What `sealed_text` sealed for this place with this key. Raises CannotOpen."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    whole = _bytes(sealed)
    try:
        return AESGCM(key).decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], _bound_to(place))
    except InvalidTag:
        raise CannotOpen("it was changed, or is of another row") from None


def _bound_to(place: tuple[str, ...]) -> bytes:
    """The associated data: which column of which row. A JSON list is unambiguous."""
    column, *row = place
    return json.dumps(["postern", column, _FORM, *row]).encode()


def _bytes(sealed: str) -> bytes:
    """The nonce and what follows it. The text must be exactly what `sealed_text` wrote: base64 has several texts for
    one value."""
    try:
        whole = urlsafe_b64decode(sealed.removeprefix(_FORM).encode("ascii"))
    except ValueError:
        raise CannotOpen("it is not a sealed value") from None
    if _FORM + urlsafe_b64encode(whole).decode() != sealed or len(whole) <= NONCE_BYTES:
        raise CannotOpen("it is not a sealed value")
    return whole
