"""Where one provider is: the addresses of its settings, of its metadata, or of Entra."""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from postern.settings import GrantedAuth


@dataclass(frozen=True, slots=True)
class Addresses:
    """The endpoints of a provider; "" for those that it does not have. `issuer` is who it says it is, "" if that is not
    known. With `names_itself` every authorization response has its `iss` (RFC 9207)."""

    authorization: str
    token: str
    refresh: str
    revocation: str = ""
    issuer: str = ""
    names_itself: bool = False


class Directory(Protocol):
    """Finds the addresses of a provider. `tenant` is for Entra, "" for the entry's own."""

    async def find(self, tenant: str = "") -> Addresses:
        """The addresses. Raises RefusedByProvider if they are in metadata that cannot be had."""

    def check_issuer(self, addresses: Addresses, iss: str | None) -> bool:
        """Whether an authorization response with this `iss` may be the provider's (RFC 9207, section 2.4)."""


class WrittenAddresses:
    """The addresses of the settings, or of a preset."""

    def __init__(self, auth: GrantedAuth) -> None:
        preset = auth.preset
        token = auth.token_url or preset.token_url
        self._found = Addresses(
            auth.authorization_url or preset.authorization_url,
            token,
            auth.refresh_url or token,
            auth.revocation_url or preset.revocation_url,
            preset.issuer,
        )

    async def find(self, tenant: str = "") -> Addresses:
        """Those, always."""
        return self._found

    def check_issuer(self, addresses: Addresses, iss: str | None) -> bool:
        """It must be equal to a known issuer. If none is known, it must be of the origin to which the browser was
        sent: a response of another server says so by its own `iss`."""
        if iss is None:
            return not addresses.names_itself
        if addresses.issuer:
            return iss == addresses.issuer
        return origin(iss) == origin(addresses.authorization)


def origin(url: str) -> str:
    """Scheme, host and port of a URL, in lower case, without the usual port; "" if it is no URL."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return ""
    usual = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port not in (None, usual) else "")
