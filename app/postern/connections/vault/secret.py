"""A secret as read from the vault, and the interface to the vault that signing in uses."""

from dataclasses import dataclass, field
from typing import Protocol

from postern.connections.faults import ConnectionFault


@dataclass(frozen=True, slots=True)
class Secret:
    """A version of a secret. `expires_on` is its expiry date in the vault, in Unix seconds, None if it has none.
    `content_type` distinguishes a certificate in PFX (`application/x-pkcs12`) from one in PEM. `version` is the vault's
    id of it."""

    name: str
    value: str = field(repr=False)
    expires_on: float | None = None
    content_type: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class SecretState:
    """A secret without its value. `used_by` are the entries and settings that name it. `ends` is its expiry in Unix
    seconds, None if it has none. `fault` is None if it can be read. `at` is when that was found out."""

    name: str
    used_by: tuple[str, ...]
    ends: float | None = None
    fault: ConnectionFault | None = None
    at: float = 0.0


class NoSuchSecret(ConnectionFault):
    """The vault has no secret of this name."""


class NoSuchVersion(ConnectionFault):
    """The vault has no such version of a secret."""


class VaultUnavailable(ConnectionFault):
    """The vault does not respond, or not for now: the secret may be there."""


class Secrets(Protocol):
    """The source of secrets. Both methods raise ConnectionFault with `entry` "the secret NAME"."""

    async def read(self, name: str) -> Secret:
        """The secret, cached for a short time."""

    async def read_again(self, name: str, refused: str) -> Secret:
        """The current secret, after the value `refused` was rejected. The cached value is used only if it differs from
        `refused`."""


class VersionedSecrets(Secrets, Protocol):
    """A source that keeps former versions."""

    async def read_version(self, name: str, version: str) -> Secret:
        """A version of the secret, whether it is the latest or not. It is not cached: it never changes, so its reader
        can keep it. Raises ConnectionFault, NoSuchVersion among them."""
