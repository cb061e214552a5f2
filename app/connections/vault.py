"""The vault: secrets by name from Azure Key Vault, remembered for a short time in memory and nowhere else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.keyvault.secrets.aio import SecretClient


class VaultFault(Exception):
    """A secret that cannot be had; the message names the secret and the setting to mend, never a value."""


class Vault:
    """Reads secrets of one Key Vault. Values are remembered for `max_age` seconds; one request is under way per
    secret, however many ask."""

    def __init__(
        self,
        url: str | None,
        credential: str | None,
        *,
        authority: str | None = None,
        ca_bundle: Path | None = None,
        max_age: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._kind = credential
        self._authority = authority
        self._ca_bundle = ca_bundle
        self._max_age = max_age
        self._clock = clock
        self._values: dict[str, tuple[float, str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._client: SecretClient | None = None
        self._credential: AsyncTokenCredential | None = None

    async def secret(self, name: str) -> str:
        """The latest value of the secret. Raises VaultFault."""
        if (value := self._remembered(name)) is not None:
            return value
        async with self._locks.setdefault(name, asyncio.Lock()):
            if (value := self._remembered(name)) is not None:
                return value
            value = await self._read(name)
            self._values[name] = (self._clock() + self._max_age, value)
            return value

    async def aclose(self) -> None:
        """Close the connections to Azure."""
        for closing in (self._client, self._credential):
            if closing is not None:
                await closing.close()

    def _remembered(self, name: str) -> str | None:
        until, value = self._values.get(name, (0.0, ""))
        return value if until > self._clock() else None

    async def _read(self, name: str) -> str:
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            found = await self._connected().get_secret(name)
        except ResourceNotFoundError:
            raise VaultFault(f"the Key Vault {self._url} has no secret {name!r}") from None
        except (AzureError, ValueError) as error:
            # Azure's messages hold whole replies: only the kind of the error is passed on.
            status = getattr(error, "status_code", None)
            what = f"answered {status}" if status else f"could not be used ({type(error).__name__})"
            raise VaultFault(f"the Key Vault {self._url} {what} when asked for the secret {name!r}") from None
        if found.value is None:
            raise VaultFault(f"the secret {name!r} of the Key Vault {self._url} has no value")
        return found.value

    def _connected(self) -> "SecretClient":
        if self._client is None:
            if not self._url or not self._kind:
                missing = "POSTERN_AZURE_CREDENTIAL" if self._url else "POSTERN_KEY_VAULT_URL"
                raise VaultFault(f"{missing} is not set, and a secret is asked for")
            from app.connections import azure

            try:
                self._credential = azure.own_credential(self._kind, self._authority, self._ca_bundle)
            except LookupError as error:
                raise VaultFault(str(error)) from None
            self._client = azure.secret_client(self._url, self._credential, self._ca_bundle)
        return self._client


Secret = Callable[[str], Awaitable[str]]
