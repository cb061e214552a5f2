"""A database URL that includes how to sign in without a password. The settings make it, and the code that opens the
database passes it on unchanged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postern.proxy import Proxy

PASSWORDLESS = "passwordless"
"""The name in the URL's query. It is Postern's own: libpq never sees it."""
ENTRA = "entra"
"""Its value: a token from Entra is used in place of the password."""


@dataclass(frozen=True, slots=True)
class Passwordless:
    """Postern's own credential for the database: its kind (POSTERN_AZURE_CREDENTIAL), the cloud, the authority (the
    cloud's if None), the certificate authorities to trust, and the proxy on the way to Entra. It contains no secret."""

    credential: str
    cloud: str
    authority: str | None = None
    ca_bundle: Path | None = None
    proxy: Proxy | None = None


class DatabaseUrl(str):
    """The URL as it was written, with the data for signing in. The writer's process gets it unchanged."""

    __slots__ = ("passwordless",)
    passwordless: Passwordless

    def __new__(cls, text: str, passwordless: Passwordless) -> "DatabaseUrl":
        """A string with the same text."""
        made = super().__new__(cls, text)
        made.passwordless = passwordless
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """The arguments for pickle."""
        return DatabaseUrl, (str(self), self.passwordless)


def like(url: str, text: str) -> str:
    """Another database's URL, with the same sign-in as `url`."""
    return DatabaseUrl(text, url.passwordless) if isinstance(url, DatabaseUrl) else text
