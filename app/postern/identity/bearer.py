"""The access token of a request: exactly one `Authorization: Bearer` field (RFC 6750, section 2.1).

A check never holds the header's content: the operator reads what was wrong, never a credential.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NoReturn

from postern.access import Check, Refused

MAX_TOKEN_BYTES = 64 * 1024
"""Larger than any token that Entra issues (200 groups are about 10 KiB), small enough to hash at any request."""

BEARER = b"Bearer "
"""The usual spelling of the scheme. A request that spells it otherwise (RFC 9110, section 11.1) is identified too, but
not recalled."""

_B64TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The token in the raw headers of an ASGI scope (names in lower case).

    Raises Refused: check `credentials` if there are none (no header, or another scheme), `authorization-header` if
    there are several headers or a malformed one.
    """
    return b64token(credentials(headers))


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What follows `Bearer `, of at most MAX_TOKEN_BYTES; its characters are not looked at yet. Raises Refused."""
    field = None
    fields = 0
    for name, value in headers:
        if name == b"authorization":
            field = value
            fields += 1
    if field is None:
        _none_came("no Authorization field")
    if fields > 1:
        _malformed(f"{fields} fields")
    scheme, _, token = field.partition(b" ")
    if scheme.lower() != b"bearer":
        _none_came("another scheme")
    token = token.lstrip(b" ")
    if not token or len(token) > MAX_TOKEN_BYTES:
        _malformed(f"{len(token)} bytes")
    return token


def digest_of(credentials: bytes) -> bytes:
    """The SHA-256 of a token, under which what was found out about it is remembered."""
    return sha256(credentials).digest()


def digest_of_field(authorization: bytes) -> bytes:
    """The digest of the token in an Authorization field with the usual spelling of the scheme; b"" for others."""
    return digest_of(authorization[len(BEARER) :]) if authorization.startswith(BEARER) else b""


def b64token(token: bytes) -> str:
    """The token as text, if it has only the characters of `b64token` (RFC 6750, section 2.1). Raises Refused."""
    body = token.rstrip(b"=")
    if not body or body.translate(None, _B64TOKEN):
        _malformed("characters that do not belong in a token")
    return token.decode("ascii")


def _none_came(found: str) -> NoReturn:
    raise Refused([Check("credentials", False, "Authorization: Bearer", found)])


def _malformed(found: str) -> NoReturn:
    raise Refused([Check("authorization-header", False, f"one token of at most {MAX_TOKEN_BYTES} bytes", found)])
