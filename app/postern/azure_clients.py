"""Makes the Azure clients. This module is imported only when a vault or an Entra connection is used.

Each client gets its own transport from azure-core. If a transport is given, azure ignores `connection_verify` and
timeouts on the client, so both are set on the transport. Instance discovery is off: it would check with Microsoft
whether the authority is Microsoft's, but ours is configured.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.identity.aio import (
    AzureCliCredential,
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    OnBehalfOfCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.secrets.aio import SecretClient

from postern.http_client import USER_AGENT
from postern.logs import QUIET
from postern.loopback import is_loopback
from postern.proxy import Proxy

CONNECT_SECONDS = 5
READ_SECONDS = 10
RETRIES = 2

Credential = AsyncTokenCredential
Note = Callable[[Any], None]
"""Called with each response of a sign-in (azure's PipelineResponse), retried ones included."""

for _name in ("azure", "azure.identity", "msal", "urllib3"):  # azure.identity logs whole responses by default
    logging.getLogger(_name).setLevel(QUIET[_name])


class _Transport(AsyncioRequestsTransport):  # type: ignore[misc]  # Azure gives it no type
    """Azure's transport, with our proxy. The Key Vault's client ignores Azure's own option for one (`proxies`)."""

    def __init__(self, proxy: Proxy | None, **options: Any) -> None:
        super().__init__(**options)
        self._proxy = proxy

    async def send(self, request: Any, **options: Any) -> Any:
        """Send one request. Azure's pipeline calls this."""
        if self._proxy is not None and self._proxy.carries(urlsplit(request.url).hostname or ""):
            options["proxies"] = {"https": self._proxy.url}
        return await super().send(request, **options)


def transport(ca_bundle: Path | None, proxy: Proxy | None = None) -> AsyncioRequestsTransport:
    """A transport that verifies certificates by `ca_bundle`, or by the system's authorities. The timeout is a pair,
    because `read_timeout` is ignored and a single number applies to reading too."""
    return _Transport(
        proxy,
        connection_verify=str(ca_bundle) if ca_bundle else True,
        connection_timeout=(CONNECT_SECONDS, READ_SECONDS),
        use_env_settings=False,
    )


def client_secret_credential(
    tenant_id: str,
    client_id: str,
    client_secret: str,
    authority: str | None,
    ca_bundle: Path | None,
    proxy: Proxy | None = None,
    note: Note | None = None,
) -> AsyncTokenCredential:
    """An application that signs in with a client secret."""
    return ClientSecretCredential(tenant_id, client_id, client_secret, **_options(authority, ca_bundle, proxy, note))


def certificate_credential(
    tenant_id: str,
    client_id: str,
    certificate: bytes,
    authority: str | None,
    ca_bundle: Path | None,
    proxy: Proxy | None = None,
    note: Note | None = None,
) -> AsyncTokenCredential:
    """An application that signs in with a certificate: the bytes of a PEM or PFX with the private key. Checking the key
    takes about 100 ms."""
    options = _options(authority, ca_bundle, proxy, note)
    return CertificateCredential(tenant_id, client_id, certificate_data=certificate, **options)


def assertion_credential(
    tenant_id: str,
    client_id: str,
    assertion: str,
    authority: str | None,
    ca_bundle: Path | None,
    proxy: Proxy | None = None,
    note: Note | None = None,
) -> AsyncTokenCredential:
    """An application that signs in with a token: another issuer's (federated credentials), or one that it signed."""
    return ClientAssertionCredential(
        tenant_id, client_id, lambda: assertion, **_options(authority, ca_bundle, proxy, note)
    )


def on_behalf_of_credential(
    tenant_id: str,
    client_id: str,
    user_assertion: str,
    proof: Mapping[str, Any],
    authority: str | None,
    ca_bundle: Path | None,
    proxy: Proxy | None = None,
    note: Note | None = None,
) -> AsyncTokenCredential:
    """An application that exchanges the token of its caller. `proof` is how it authenticates: the `client_secret`, the
    `client_certificate`, or a `client_assertion_func`. Its cache ends with it."""
    options = _options(authority, ca_bundle, proxy, note)
    return OnBehalfOfCredential(tenant_id, client_id, user_assertion=user_assertion, **proof, **options)


def managed_identity_credential(
    client_id: str | None, authority: str | None, ca_bundle: Path | None, note: Note | None = None
) -> AsyncTokenCredential:
    """The identity of the machine or container: the user-assigned one of `client_id`, or the system-assigned one. Its
    endpoint belongs to the machine, so there is no proxy on the way."""
    return ManagedIdentityCredential(client_id=client_id, **_options(authority, ca_bundle, None, note))


def own_credential(
    kind: str, authority: str | None, ca_bundle: Path | None, proxy: Proxy | None = None
) -> AsyncTokenCredential:
    """Postern's own credential for its Key Vault, of the kind in POSTERN_AZURE_CREDENTIAL. Its other values come from
    the variables that azure-identity documents. Raises LookupError that names the missing ones."""
    return _CREDENTIALS[kind](authority, ca_bundle, proxy)


def secret_client(
    vault_url: str, credential: AsyncTokenCredential, ca_bundle: Path | None, proxy: Proxy | None = None
) -> SecretClient:
    """A client of the Key Vault. It checks that the challenge is for the vault's own domain."""
    return SecretClient(
        vault_url, credential, transport=transport(ca_bundle, proxy), **_retries(vault_url), user_agent=USER_AGENT
    )


def federated_token_file() -> Path:
    """The file to which a cluster writes the token of Postern's service account. Raises LookupError that names the
    variable if it is not set."""
    return _token_file(*_variables("workload_identity", "AZURE_FEDERATED_TOKEN_FILE"))


def _client_secret(authority: str | None, ca_bundle: Path | None, proxy: Proxy | None) -> AsyncTokenCredential:
    needed = _variables("client_secret", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
    tenant_id, client_id, client_secret = needed
    return client_secret_credential(tenant_id, client_id, client_secret, authority, ca_bundle, proxy)


def _managed_identity(authority: str | None, ca_bundle: Path | None, proxy: Proxy | None) -> AsyncTokenCredential:
    return managed_identity_credential(os.environ.get("AZURE_CLIENT_ID"), authority, ca_bundle)


def _workload_identity(authority: str | None, ca_bundle: Path | None, proxy: Proxy | None) -> AsyncTokenCredential:
    needed = _variables("workload_identity", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")
    tenant_id, client_id, token_file = needed
    return WorkloadIdentityCredential(
        tenant_id=tenant_id,
        client_id=client_id,
        token_file_path=str(_token_file(token_file)),
        **_options(authority, ca_bundle, proxy, None),
    )


def _developer(authority: str | None, ca_bundle: Path | None, proxy: Proxy | None) -> AsyncTokenCredential:
    return AzureCliCredential()


def _options(authority: str | None, ca_bundle: Path | None, proxy: Proxy | None, note: Note | None) -> dict[str, Any]:
    return {
        "authority": authority,
        "disable_instance_discovery": True,
        "transport": transport(ca_bundle, proxy),
        "user_agent": USER_AGENT,
        **_retries(authority),
        "raw_response_hook": note,
    }


def _retries(url: str | None) -> dict[str, int]:
    """No further attempt to connect to this machine: nothing listens there, as when a command finds no local tenant."""
    here = is_loopback(urlsplit(url or "").hostname or "")
    return {"retry_total": RETRIES, **({"retry_connect": 0} if here else {})}


def _variables(kind: str, *names: str) -> list[str]:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise LookupError(f"POSTERN_AZURE_CREDENTIAL is {kind}: set {', '.join(missing)} in the environment")
    padded = [name for name in names if os.environ[name] != os.environ[name].strip()]
    if padded:
        raise LookupError(f"{padded[0]} has white space or a line end around it: set it without in the environment")
    return [os.environ[name] for name in names]


def _token_file(named: str) -> Path:
    path = Path(named)
    if not os.access(path, os.R_OK) or not path.is_file():
        raise LookupError(
            f"POSTERN_AZURE_CREDENTIAL is workload_identity: {path}, which AZURE_FEDERATED_TOKEN_FILE names, "
            "cannot be read"
        )
    return path


_CREDENTIALS: dict[str, Callable[[str | None, Path | None, Proxy | None], AsyncTokenCredential]] = {
    "client_secret": _client_secret,
    "managed_identity": _managed_identity,
    "workload_identity": _workload_identity,
    "developer": _developer,
}
