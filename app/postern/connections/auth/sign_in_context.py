"""What the authentication types need besides their entry."""

from dataclasses import dataclass, field
from pathlib import Path

from postern.connections.retry_transport import Retries
from postern.connections.vault.secret import Secrets
from postern.http_client import AsyncClient
from postern.proxy import Proxy


@dataclass(frozen=True, slots=True)
class SignInContext:
    """What signing in needs besides an entry: the source of secrets, the HTTP client for token endpoints, the address
    of Entra, Postern's own tenant, application and Azure credential, the proxy, and how token requests are retried."""

    secrets: Secrets
    http: AsyncClient
    authority: str
    tenant_id: str | None
    client_id: str | None
    ca_bundle: Path | None
    azure_credential: str | None
    proxy: Proxy | None = None
    retries: Retries = field(default_factory=Retries)
