"""A database's URL that knows how to sign in without a password. Settings make it, and whoever opens the database
hands on what the settings have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORDLESS = "passwordless"
"""The name in the URL's query. It is ours: libpq never sees it."""
ENTRA = "entra"
"""Its value: a token of Entra goes in the password's place."""


@dataclass(frozen=True, slots=True)
class Passwordless:
    """Postern's own credential for the database: which kind (POSTERN_AZURE_CREDENTIAL), in which cloud, at which
    authority (the cloud's where it is None), and who is trusted on the way. It has no secret."""

    credential: str
    cloud: str
    authority: str | None = None
    ca_bundle: Path | None = None


class DatabaseUrl(str):
    """The URL as it was written, with what signing in needs besides. It goes to the writer's process as it is."""

    __slots__ = ("passwordless",)
    passwordless: Passwordless

    def __new__(cls, text: str, passwordless: Passwordless) -> "DatabaseUrl":
        """The same text."""
        made = super().__new__(cls, text)
        made.passwordless = passwordless
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle."""
        return DatabaseUrl, (str(self), self.passwordless)


def like(url: str, text: str) -> str:
    """Another database's URL, to which one signs in as to `url`."""
    return DatabaseUrl(text, url.passwordless) if isinstance(url, DatabaseUrl) else text
