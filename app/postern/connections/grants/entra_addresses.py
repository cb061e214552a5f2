"""Microsoft Entra, as grants use it. Its metadata and its ID tokens are the business of `identity`, which is handed in
as `EntraAccounts`: rooms on one layer do not import each other."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from postern.connections.grants.addresses import Addresses
from postern.connections.grants.token_answers import refused

KEPT_FOR = 3600.0
"""Seconds for which the addresses of a tenant are used until they are looked up again."""
TRIED_EVERY = 5.0
"""Seconds between two attempts to look them up while Entra is unavailable."""
MOST_TENANTS = 1_000


log = structlog.get_logger("postern.connections")


class EntraEndpoints(Protocol):
    """Where people sign in, and where codes and refresh tokens are exchanged."""

    @property
    def authorization(self) -> str:
        """The page for people."""

    @property
    def token(self) -> str:
        """The token endpoint."""


class EntraAccount(Protocol):
    """A person who signed in. The name is for showing only."""

    @property
    def tenant_id(self) -> str:
        """The account's own tenant."""

    @property
    def object_id(self) -> str:
        """The id of the person there."""

    @property
    def name(self) -> str:
        """For showing only."""


class EntraAccounts(Protocol):
    """What `identity.accounts.Accounts` does. A `tenant` is an id, `organizations` or `common`."""

    async def endpoints(self, tenant: str) -> EntraEndpoints:
        """The endpoints in the metadata of the authority. Raises any error."""

    async def verify(
        self, id_token: str, *, tenant: str, tenants: tuple[str, ...], client_id: str, nonce: str
    ) -> EntraAccount:
        """Whose account it is. `tenants` are those that may connect, () for all that `tenant` admits. Raises Refused,
        and Problem if the signing keys are unavailable."""

    def issues(self, iss: str, tenant: str) -> bool:
        """Whether this is the issuer of the tenant, or of any tenant that it admits."""


class EntraAddresses:
    """The addresses of one tenant of the entry, and of the own tenants of its accounts. It belongs to one event
    loop."""

    def __init__(self, tenant: str, accounts: EntraAccounts, clock: Callable[[], float] = time.monotonic) -> None:
        self._tenant = tenant
        self._accounts = accounts
        self._clock = clock
        self._found: dict[str, tuple[Addresses, float]] = {}
        self._failed_at: dict[str, float] = {}
        self._looking = asyncio.Lock()

    async def find(self, tenant: str = "") -> Addresses:
        """The addresses of the entry's tenant, or of another one. If Entra is unavailable, those that were found before
        are used. Raises RefusedByProvider."""
        tenant = tenant or self._tenant
        known = self._found.get(tenant)
        if known is not None and (self._clock() < known[1] or self._looking.locked()):
            return known[0]  # also an old one, while somebody looks it up
        async with self._looking:
            known = self._found.get(tenant)
            fresh = known is not None and self._clock() < known[1]
            if not fresh and self._clock() - self._failed_at.get(tenant, float("-inf")) >= TRIED_EVERY:
                await self._look(tenant)
        known = self._found.get(tenant)
        if known is None:
            raise refused("", "provider-unavailable")
        return known[0]

    def check_issuer(self, addresses: Addresses, iss: str | None) -> bool:
        """Entra sends no `iss`. If there is one, it must be Entra's."""
        return iss is None or self._accounts.issues(iss, self._tenant)

    async def _look(self, tenant: str) -> None:
        while len(self._found) >= MOST_TENANTS:
            del self._found[next(iter(self._found))]
        try:
            found = await self._accounts.endpoints(tenant)
        except Exception as error:  # any failure of the network or of the document
            reason = ascii(f"{type(error).__name__}: {error}")[1:-1][:300]
            log.warning("entra-metadata-not-read", tenant=tenant, reason=reason)
            while len(self._failed_at) >= MOST_TENANTS:
                del self._failed_at[next(iter(self._failed_at))]
            self._failed_at[tenant] = self._clock()
        else:
            self._found[tenant] = Addresses(found.authorization, found.token, found.token), self._clock() + KEPT_FOR
