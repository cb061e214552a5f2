"""Named connections: HTTP clients that know an outside system's address and how to sign in there."""

from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.connections.client import EntryClient
from app.connections.faults import ConnectionFault
from app.connections.methods import Surroundings, sign_in
from app.connections.places import Place
from app.connections.retries import Retries
from app.connections.transport import Caps, EntryTransport
from app.connections.vault import Vault
from app.http_client import URL, AsyncBaseTransport, AsyncClient, pool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from app.connections.secrets import Secrets
    from app.settings import Auth, Settings

MOST_CONNECTIONS = 500
MOST_KEPT = 100
"""Of all entries together, at a time."""

TOKEN_CAPS = Caps(seconds=30.0, response_bytes=1024 * 1024)


class Connections:
    """The vault and the connections of the settings, which sign in at Entra's `authority`. They share one pool of
    connections, which the first use makes; Azure is imported by the first use of it. It belongs to one event loop.

    `secrets` replaces the vault of the settings; `retries` says how calls are repeated.
    """

    def __init__(
        self,
        settings: "Settings",
        authority: str,
        *,
        secrets: "Secrets | None" = None,
        retries: Retries | None = None,
    ) -> None:
        self._settings = settings
        self._authority = authority
        self._retries = retries or Retries()
        self.vault = Vault(
            settings.key_vault_url,
            settings.azure_credential,
            authority=authority,
            ca_bundle=settings.ca_bundle,
            max_age=settings.secret_max_age,
        )
        self._secrets = secrets or self.vault
        self._closing: list[Callable[[], Coroutine[Any, Any, None]]] = [self.vault.aclose]
        self._clients: dict[str, AsyncClient] = {}

    async def secret(self, name: str) -> str:
        """The value of a secret of the Key Vault. Raises ConnectionFault."""
        return (await self._secrets.read(name)).value

    def client(self, name: str) -> AsyncClient:
        """The client of `[connections.NAME]`. Raises ConnectionFault."""
        entry = f"connections.{name}"
        if entry in self._clients:
            return self._clients[entry]
        connection = self._settings.connections.get(name)
        if connection is None:
            raise _unknown(name, list(self._settings.connections))
        caps = Caps(connection.timeout, connection.max_response_bytes)
        return self.open(entry, connection.base_url, connection.auth, caps=caps)

    def open(self, entry: str, url: str, auth: "Auth", *, exact: bool = False, caps: Caps | None = None) -> AsyncClient:
        """The client of an entry, made once: for addresses at or below `url`, or with `exact` for this very one, and
        for what POLL (`app.connections.places`) asks for at its origin. Raises ConnectionFault."""
        if entry not in self._clients:
            place = Place(entry, URL(url), exact)
            way = sign_in(entry, auth, self.surroundings)
            if way is not None:
                self._closing.append(way.aclose)
            transport = EntryTransport(entry, place, self._pool, caps or Caps(), self._retries)
            self._clients[entry] = EntryClient(transport, auth=way)
        return self._clients[entry]

    @cached_property
    def surroundings(self) -> Surroundings:
        """What all ways of signing in share."""
        settings = self._settings
        tokens = EntryTransport("a token endpoint", None, self._pool, TOKEN_CAPS, self._retries)
        return Surroundings(
            secrets=self._secrets,
            http=EntryClient(tokens),
            authority=self._authority,
            tenant_id=settings.tenant_id,
            client_id=settings.client_id,
            ca_bundle=settings.ca_bundle,
            azure_credential=settings.azure_credential,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for close in reversed(self._closing):
            await close()

    @cached_property
    def _pool(self) -> AsyncBaseTransport:
        made = pool(self._settings.ca_bundle, most=MOST_CONNECTIONS, kept=MOST_KEPT)
        self._closing.append(made.aclose)
        return made


def _unknown(name: str, known: list[str]) -> ConnectionFault:
    near = get_close_matches(name, known, n=1)
    there = ", ".join(sorted(known)) or "none"
    fix = f"Did you mean {near[0]}? " if near else ""
    return ConnectionFault(f"connections.{name}", "is not in postern.toml", f"{fix}There is {there}")
