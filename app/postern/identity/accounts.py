"""Whose account somebody connects at Entra: ID tokens of one tenant, or of several (`organizations`, `common`).

The issuer in the metadata of several tenants is a template. A token's own tenant id (`tid`) is put into it, and then
the token passes the rules of `id_token.py` as one of that tenant: its issuer is compared exactly, and the keys are
those that the same authority publishes for that tenant, each for this issuer or for the template.
Source: Microsoft, "Microsoft identity platform ID tokens" and "Validate the signing key issuer".
"""

import time
from collections.abc import Callable
from functools import partial

from postern.access import GUID, Check, Refused
from postern.clouds import CONSUMERS, SHARED_TENANTS
from postern.http_client import AsyncClient
from postern.identity.discovery import Endpoints, fetch_endpoints, fetch_keys, fetch_shared_endpoints
from postern.identity.id_token import Person, Wanted, verify_id_token
from postern.identity.issuers import TEMPLATE, Tenant, any_tenant, tenant
from postern.identity.keys import SigningKeys
from postern.identity.token import Parsed, parse, shown

ADMITTED = "admitted-tenant"
PERSONAL = "personal-account"
"""The checks of the tenant of an account."""

MOST_TENANTS = 100
"""Tenants whose keys are kept. Those of the least recent are fetched again."""


class Accounts:
    """Verifies ID tokens of people who connect an account. `client` fetches metadata and keys of the authority. `now`
    is the time of day, `leeway` is for differing clocks, in seconds. It belongs to one event loop."""

    def __init__(
        self,
        client: AsyncClient,
        cloud: str = "public",
        authority: str | None = None,
        *,
        leeway: float = 60,
        max_age: float = 3600,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._tenant_of = partial(tenant, cloud=cloud, authority=authority)
        self._any = any_tenant(cloud, authority)
        self._leeway = leeway
        self._max_age = max_age
        self._now = now
        self._keys: dict[str, SigningKeys] = {}

    async def endpoints(self, tenant: str) -> Endpoints:
        """Where people of this tenant, or of several, sign in. Raises what `fetch_keys` does, and ValueError for what
        is no tenant."""
        if tenant in SHARED_TENANTS:
            return await fetch_shared_endpoints(self._client, self._any.authority, self._any.issuers_v2, tenant)
        return await fetch_endpoints(self._client, self._tenant_of(tenant))

    async def verify(
        self, id_token: str, *, tenant: str, tenants: tuple[str, ...], client_id: str, nonce: str
    ) -> Person:
        """Whose account it is. `tenant` is where the person signed in, and `tenants` are those that may connect, () for
        all. The token came from the token endpoint. Raises Refused, and Problem `identity-unavailable` without signing
        keys."""
        parsed = parse(id_token)
        own = self._tenant_of(_admitted(parsed, tenant.lower(), tenants))
        keys = self._keys_of(own)
        key = await keys.find(parsed.header["kid"])
        wanted = Wanted(own.tenant_id, client_id.lower(), nonce)
        return verify_id_token(parsed, own, key, wanted, self._now(), self._leeway)

    def issues(self, iss: str, tenant: str) -> bool:
        """Whether this is the issuer of the tenant, or of any one if people of several tenants sign in there."""
        if tenant not in SHARED_TENANTS:
            return iss in self._tenant_of(tenant).issuers_v2
        around = (issuer.split(TEMPLATE) for issuer in self._any.issuers_v2)
        return any(
            iss.startswith(before) and iss.endswith(after) and GUID.fullmatch(iss[len(before) : -len(after)])
            for before, after in around
        )

    def _keys_of(self, own: Tenant) -> SigningKeys:
        """The keys of a tenant. They are fetched when a token needs them and they are old."""
        keys = self._keys.pop(own.tenant_id, None)
        if keys is None:
            while len(self._keys) >= MOST_TENANTS:
                del self._keys[next(iter(self._keys))]
            # Nothing refreshes them in the background: they are too old after `max_age`, and then fetched again.
            keys = SigningKeys(own, partial(fetch_keys, self._client, own), stale=self._max_age)
        self._keys[own.tenant_id] = keys
        return keys


def _admitted(parsed: Parsed, tenant: str, tenants: tuple[str, ...]) -> str:
    """The tenant that the token claims, if its people may connect. It is proved later. Raises Refused."""
    claimed = parsed.claims.get("tid")
    found = shown(claimed)
    if not isinstance(claimed, str) or not GUID.fullmatch(claimed):
        raise Refused([Check(ADMITTED, False, "a tenant's id", found)])
    if claimed == CONSUMERS and tenant not in ("common", CONSUMERS):
        raise Refused([Check(PERSONAL, False, "an account of an organization", found)])
    admitted = tenants or (() if tenant in SHARED_TENANTS else (tenant,))
    if admitted and claimed not in admitted:
        raise Refused([Check(ADMITTED, False, frozenset(admitted), found)])
    return claimed
