"""The Azure clients, configured once: this module is imported only when a vault or an Entra connection is used.

Each client gets a transport of its own from azure-core. With a transport given, azure ignores `connection_verify` and
timeouts on the client, so both are set on the transport.
"""

import os
from collections.abc import Callable
from pathlib import Path

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.identity.aio import (
    AzureCliCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.secrets.aio import SecretClient

CONNECT_SECONDS = 5
READ_SECONDS = 10
RETRIES = 2


def transport(ca_bundle: Path | None) -> AsyncioRequestsTransport:
    """A transport that verifies certificates by `ca_bundle`, or by the system's authorities."""
    return AsyncioRequestsTransport(
        connection_verify=str(ca_bundle) if ca_bundle else True,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        use_env_settings=False,
    )


def client_secret_credential(
    tenant_id: str, client_id: str, client_secret: str, authority: str | None, ca_bundle: Path | None
) -> AsyncTokenCredential:
    """An application that signs in with a client secret. Instance discovery would ask Microsoft whether the authority
    is one of its own; ours is configured."""
    return ClientSecretCredential(
        tenant_id,
        client_id,
        client_secret,
        authority=authority,
        disable_instance_discovery=True,
        transport=transport(ca_bundle),
        retry_total=RETRIES,
    )


def own_credential(kind: str, authority: str | None, ca_bundle: Path | None) -> AsyncTokenCredential:
    """Postern's own credential for its Key Vault, by POSTERN_AZURE_CREDENTIAL. What each kind needs besides comes
    from the variables that azure-identity documents. Raises LookupError that names the missing one."""
    return _CREDENTIALS[kind](authority, ca_bundle)


def secret_client(vault_url: str, credential: AsyncTokenCredential, ca_bundle: Path | None) -> SecretClient:
    """A client of the Key Vault; it checks that the challenge comes from the vault's own domain."""
    return SecretClient(vault_url, credential, transport=transport(ca_bundle), retry_total=RETRIES)


def _client_secret(authority: str | None, ca_bundle: Path | None) -> AsyncTokenCredential:
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise LookupError(f"POSTERN_AZURE_CREDENTIAL is client_secret: set {', '.join(missing)} in the environment")
    tenant_id, client_id, client_secret = (os.environ[name] for name in names)
    return client_secret_credential(tenant_id, client_id, client_secret, authority, ca_bundle)


def _managed_identity(authority: str | None, ca_bundle: Path | None) -> AsyncTokenCredential:
    return ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"), transport=transport(None))


def _workload_identity(authority: str | None, ca_bundle: Path | None) -> AsyncTokenCredential:
    return WorkloadIdentityCredential(authority=authority, transport=transport(ca_bundle))


def _developer(authority: str | None, ca_bundle: Path | None) -> AsyncTokenCredential:
    return AzureCliCredential()


_CREDENTIALS: dict[str, Callable[[str | None, Path | None], AsyncTokenCredential]] = {
    "client_secret": _client_secret,
    "managed_identity": _managed_identity,
    "workload_identity": _workload_identity,
    "developer": _developer,
}
