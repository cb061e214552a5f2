"""When a token expires."""

from collections.abc import Iterable

from postern.identity.bearer import bearer_token
from postern.identity.token import read


def expires_at(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """When the token of a request expires, in Unix seconds. The token was verified before; else this raises Refused,
    KeyError or ValueError."""
    return float(read(bearer_token(headers)).claims["exp"])
