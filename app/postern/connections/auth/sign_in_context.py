"""What the ways of signing in need besides their entry."""

from dataclasses import dataclass
from pathlib import Path

from postern.connections.vault.secret import Secrets
from postern.http_client import AsyncClient


@dataclass(frozen=True, slots=True)
class SignInContext:
    """What signing in needs besides an entry: where secrets are read, the client for requests to token endpoints, the
    address of Entra, and Postern's own tenant, application and Azure credential."""

    secrets: Secrets
    http: AsyncClient
    authority: str
    tenant_id: str | None
    client_id: str | None
    ca_bundle: Path | None
    azure_credential: str | None
