"""A secret as it was read from the vault, and what the ways of signing in need of the vault."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Secret:
    """The latest version of a secret. `expires_on` is the vault's own date for it, in Unix seconds, None where it has
    none; `content_type` tells a certificate in PFX (`application/x-pkcs12`) from one in PEM."""

    name: str
    value: str = field(repr=False)
    expires_on: float | None = None
    content_type: str = ""


class Secrets(Protocol):
    """Where secrets are read from. Both raise ConnectionFault with `entry` "the secret NAME"."""

    async def read(self, name: str) -> Secret:
        """The secret, remembered for a short time."""

    async def read_again(self, name: str, refused: str) -> Secret:
        """The secret as it is now, because the value `refused` was turned away: what is remembered is not used, unless
        it is another value already."""
