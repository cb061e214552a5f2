"""Random secrets that browsers keep, and the hashes under which the server knows them. Pure but for the drawing."""

import re
import secrets
from hashlib import sha256

BYTES = 32
"""256 bits: a hash of it cannot be reversed by trying, so it needs neither salt nor stretching."""

_HASH = re.compile(r"[0-9a-f]{64}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """A new secret, in the characters of base64url, which cookies and URLs carry as they are."""
    return secrets.token_urlsafe(BYTES)


def is_secret(text: str) -> bool:
    """Whether the text has the form of a secret from `new_secret`."""
    return _SECRET.fullmatch(text) is not None


def hash_of(secret: str) -> str:
    """The SHA-256 of a secret, in hexadecimal digits. Only this is stored, listed, logged and named in URLs."""
    return sha256(secret.encode()).hexdigest()


def is_hash(text: str) -> bool:
    """Whether the text has the form of a hash from `hash_of`, which a secret itself never has."""
    return _HASH.fullmatch(text) is not None
