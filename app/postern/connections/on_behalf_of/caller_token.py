"""The caller's own access token, which a run holds while it is in progress and no author's code sees.

It is in this object alone. Errors, logs and records that hold the object do not hold the token, and when the run ends
the object forgets it, also if something still holds the object.
"""

import json
from base64 import urlsafe_b64decode
from hashlib import sha256
from typing import NoReturn

_FORGOTTEN = ""


class CallerToken:
    """A token that `value_of` reveals until it is forgotten."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def __repr__(self) -> str:
        return "CallerToken()"

    def __reduce__(self) -> NoReturn:
        """It is neither copied nor sent to another process."""
        raise TypeError("a caller's token stays where it is")

    @staticmethod
    def _value(token: "CallerToken") -> str:
        return token.__value

    @staticmethod
    def _forget(token: "CallerToken") -> None:
        token.__value = _FORGOTTEN


def value_of(token: CallerToken) -> str:
    """The token; "" once it is forgotten. Keep it out of frames that an error passes through."""
    return CallerToken._value(token)


def forget(token: CallerToken) -> None:
    """Forget the token."""
    CallerToken._forget(token)


def digest_of(token: CallerToken) -> bytes:
    """By what the token is known after it is forgotten; b"" if it is forgotten already."""
    value = CallerToken._value(token)
    return sha256(value.encode()).digest() if value else b""


def ends_at(token: CallerToken) -> float:
    """When the token expires, in seconds since 1970. It was verified before. 0 if it does not say."""
    payload = CallerToken._value(token).split(".")[1:2]
    try:
        claims = json.loads(urlsafe_b64decode(f"{payload[0]}==="))
        expires = claims["exp"]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return 0.0
    return float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else 0.0
