"""The way of signing in that an entry names. Each one is imported only where an entry needs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.connections.secrets import Secrets
from app.connections.signing import SignIn
from app.http_client import AsyncClient

if TYPE_CHECKING:
    from app.settings import Auth


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What signing in needs besides an entry: where secrets are read, the client for requests to token endpoints, the
    address of Entra, and Postern's own tenant, application and Azure credential."""

    secrets: Secrets
    http: AsyncClient
    authority: str
    tenant_id: str | None
    client_id: str | None
    ca_bundle: Path | None
    azure_credential: str | None


def sign_in(entry: str, auth: "Auth", surroundings: Surroundings) -> SignIn | None:
    """What signs the requests of `entry` (`connections.NAME`); None where it asks for nothing. Nothing is sent yet."""
    match auth.type:
        case "none":
            return None
        case "basic":
            from app.connections.basic import Basic

            return Basic(entry, auth, surroundings.secrets)
        case "api_key":
            from app.connections.api_key import ApiKey

            return ApiKey(entry, auth, surroundings.secrets)
        case "oauth2":
            from app.connections.oauth2 import OAuth2

            return OAuth2(entry, auth, surroundings.secrets, surroundings.http)
        case "entra":
            from app.connections.entra import EntraSignIn

            return EntraSignIn(entry, auth, surroundings)
