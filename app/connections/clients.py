"""Named connections: HTTP clients that know an outside system's address and how to sign in there."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from app.access import default_scope
from app.connections.vault import Secret, Vault
from app.http_client import AsyncClient, Auth, Request, Response, http_client
from app.trace import RUN, traceparent

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from app.settings import Connection, EntraAuth, Settings
    from app.settings.types import Auth as AnyAuth


class ConnectionFault(Exception):
    """A connection that cannot be used; the message names the entry of `postern.toml` and what to mend."""


class Connections:
    """The vault and the connections of the settings, which sign in at Entra's `authority`. Azure is imported by the
    first use, not before."""

    def __init__(self, settings: "Settings", authority: str) -> None:
        self._settings = settings
        self._authority = authority
        self._vault = Vault(
            settings.key_vault_url,
            settings.azure_credential,
            authority=authority,
            ca_bundle=settings.ca_bundle,
            max_age=settings.secret_max_age,
        )
        self._clients: dict[str, AsyncClient] = {}
        self._closing: list[Callable[[], Coroutine[Any, Any, None]]] = []

    async def secret(self, name: str) -> str:
        """The value of a secret of the Key Vault. Raises VaultFault."""
        return await self._vault.secret(name)

    def client(self, name: str) -> AsyncClient:
        """The client of `[connections.NAME]`. Raises ConnectionFault."""
        if name not in self._clients:
            connection = self._settings.connections.get(name)
            if connection is None:
                known = ", ".join(sorted(self._settings.connections)) or "none"
                raise ConnectionFault(f"there is no [connections.{name}] in postern.toml; it has {known}")
            self._clients[name] = self._connect(name, connection)
        return self._clients[name]

    def open(
        self, entry: str, url: str, auth: "AnyAuth", *, exact: bool, seconds: float, response_bytes: int
    ) -> AsyncClient:
        """The client of an entry, made once."""
        if entry not in self._clients:
            way = None
            if auth.type == "entra":
                way = EntraSignIn(entry, auth, self._settings, self._authority, self._vault.secret)
                self._closing.append(way.aclose)
            self._clients[entry] = http_client(self._settings.ca_bundle, auth=way, timeout=seconds)
        return self._clients[entry]

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()
        for close in self._closing:
            await close()
        await self._vault.aclose()

    def _connect(self, name: str, connection: "Connection") -> AsyncClient:
        auth = None
        if connection.auth.type == "entra":
            auth = EntraSignIn(name, connection.auth, self._settings, self._authority, self._vault.secret)
            self._closing.append(auth.aclose)
        client = http_client(self._settings.ca_bundle, base_url=connection.base_url, auth=auth)
        client.event_hooks = {"request": [_only_to(name, client), _pass_on_trace]}
        return client


class EntraSignIn(Auth):
    """Signs requests of one connection with a token of the Entra application that its entry names."""

    def __init__(self, name: str, entry: "EntraAuth", settings: "Settings", authority: str, secret: Secret) -> None:
        self._name = name
        self._entry = entry
        self._scopes = entry.scopes or (default_scope(entry.audience),)
        self._tenant_id = entry.tenant_id or settings.tenant_id or ""
        self._authority = authority
        self._ca_bundle = settings.ca_bundle
        self._secret = secret
        self._credential: AsyncTokenCredential | None = None
        self._asking = asyncio.Lock()

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Attach the token; the client library calls this for each request."""
        request.headers["Authorization"] = f"Bearer {await self._token()}"
        yield request

    async def aclose(self) -> None:
        """Close the credential's connections."""
        if self._credential is not None:
            await self._credential.close()

    async def _token(self) -> str:
        from azure.core.exceptions import AzureError

        from app.connections import azure

        async with self._asking:  # azure-identity remembers tokens, but lets all who find none ask at once
            if self._credential is None:
                secret = await self._secret(self._entry.client_secret.key_vault)
                self._credential = azure.client_secret_credential(
                    self._tenant_id, self._entry.client_id, secret, self._authority, self._ca_bundle
                )
            try:
                return (await self._credential.get_token(*self._scopes)).token
            except AzureError as error:
                # Azure's messages hold whole replies: only the kind of the error is passed on.
                raise ConnectionFault(f"connections.{self._name} cannot sign in: {type(error).__name__}") from None


def _only_to(name: str, client: AsyncClient) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """A guard: what is sent through a connection, and so its token, goes to the connection's own origin and below its
    base path only."""
    base = client.base_url

    async def check(request: Request) -> None:
        url = request.url
        same = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        path = url.raw_path.lower()
        below = url.raw_path.startswith(base.raw_path) and b"/.." not in path and b"%2e" not in path
        if not (same and below):
            raise ConnectionFault(f"connections.{name} is for {base} only; use another connection for other addresses")

    return check


async def _pass_on_trace(request: Request) -> None:
    """Name the run's trace to the other side, unless its author has named one."""
    run = RUN.get()
    if run is not None and "traceparent" not in request.headers:
        request.headers["traceparent"] = traceparent(*run)
