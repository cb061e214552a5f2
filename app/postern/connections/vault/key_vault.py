"""Reads from the Azure Key Vault of the settings with Azure's own client. Azure is imported by the first read."""

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import Secret
from postern.connections.vault.vault_errors import SignInFailed, Throttled, entry_of, lacks
from postern.proxy import Proxy
from postern.transient_errors import retry_after

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.keyvault.secrets.aio import SecretClient

WORTH_WAITING = 3.0
"""The longest Retry-After of the vault that is waited for, in seconds."""


class KeyVault:
    """The vault at `url`. `credential` is the value of POSTERN_AZURE_CREDENTIAL."""

    def __init__(
        self,
        url: str | None,
        credential: str | None,
        authority: str | None,
        ca_bundle: Path | None,
        proxy: Proxy | None = None,
    ) -> None:
        self.url = (url or "").rstrip("/")
        self.kind = credential or ""
        self._authority = authority
        self._ca_bundle = ca_bundle
        self._proxy = proxy
        self._client: SecretClient | None = None
        self._credential: AsyncTokenCredential | None = None
        self._signing_in: _OneAtATime | None = None
        self._connecting = asyncio.Lock()

    async def get(self, name: str, version: str = "", *, retries: int) -> Secret:
        """A version of the secret, the latest one with "". Raises the errors that `vault_errors` translates."""
        client = await self._connected(name)
        found = await client.get_secret(name, version, retry_total=retries, raw_response_hook=_not_for_long)
        if not found.value:
            raise ConnectionFault(
                entry_of(name), f"has no value in the Key Vault {self.url}", "Put a new version there"
            )
        until = found.properties.expires_on
        return Secret(
            name,
            found.value,
            until.timestamp() if until is not None else None,
            found.properties.content_type or "",
            found.properties.version or "",
        )

    async def aclose(self) -> None:
        """Close the connections to Azure."""
        closing, self._client, self._credential = (self._client, self._credential), None, None
        for each in closing:
            if each is not None:
                await each.close()

    async def _connected(self, name: str) -> "SecretClient":
        for setting, value, fix in (
            ("POSTERN_KEY_VAULT_URL", self.url, "Set it to the vault's address, like https://NAME.vault.azure.net"),
            ("POSTERN_AZURE_CREDENTIAL", self.kind, "Set it to managed_identity where Postern runs in Azure"),
        ):
            if not value:
                raise ConnectionFault(setting, f"is not set, and {entry_of(name)} is needed", fix)
        async with self._connecting:
            if self._client is not None:
                return self._client
            # In a thread: importing Azure takes long enough to delay other requests.
            client, self._credential, self._signing_in = await asyncio.to_thread(self._connect)
            self._client = client
            return client

    def blamed(self, error: Exception) -> Exception:
        """The error, as one of signing in if the time limit of a read ended while a token was requested."""
        late = isinstance(error, TimeoutError) and self._signing_in is not None and self._signing_in.unfinished
        return SignInFailed(error) if late else error

    def _connect(self) -> "tuple[SecretClient, AsyncTokenCredential, _OneAtATime]":
        from postern import azure_clients

        try:
            credential = azure_clients.own_credential(self.kind, self._authority, self._ca_bundle, self._proxy)
        except LookupError as error:
            raise lacks(self.kind, str(error)) from None
        except ValueError:
            raise lacks(self.kind) from None
        signing_in = _OneAtATime(credential)
        client = azure_clients.secret_client(self.url, signing_in, self._ca_bundle, self._proxy)
        return client, credential, signing_in


class _OneAtATime:
    """A credential that sends one token request at a time. azure-identity caches tokens, but does not join concurrent
    requests. Its errors become SignInFailed, so that they differ from the vault's. `unfinished`: a request has begun
    and neither got a token nor failed. It stays so if the time limit of the read ends it."""

    def __init__(self, credential: "AsyncTokenCredential") -> None:
        self._credential = credential
        self._requesting = asyncio.Lock()
        self.unfinished = False

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """A token for the vault. Raises SignInFailed."""
        self.unfinished = True
        async with self._requesting:
            try:
                token = await self._credential.get_token(*scopes, **options)
            except Exception as error:
                self.unfinished = False
                raise SignInFailed(error) from None
        self.unfinished = False
        return token

    async def close(self) -> None:
        """Do nothing: the credential's maker closes it."""

    async def __aenter__(self) -> "_OneAtATime":
        """Do nothing."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Do nothing."""


def _not_for_long(answer: Any) -> None:
    """Check the `Retry-After` of each response. Azure's client would wait for all of it, even a day."""
    response = answer.http_response
    seconds = retry_after(response, time.time()) if response.status_code >= 400 else None
    if seconds is not None and seconds > WORTH_WAITING:
        raise Throttled(response.status_code, seconds)
