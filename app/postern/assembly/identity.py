"""Identity: verifies callers, by the tenants and keys of the settings."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from postern.access import Caller, Guarded, NoRevocations, Revocations
from postern.api.health import keys_usable
from postern.api.metrics import key_metrics
from postern.assembly.installation import own_tenants
from postern.assembly.outside import FetchFor
from postern.assembly.part import Part
from postern.catalog import Snapshot
from postern.http_client import http_client
from postern.identity import Identity, Tenant, fetch_keys, tenant
from postern.settings import Settings
from postern.settings.mcp import DEFAULT_SCOPE
from postern.triggers.secure_transport import Identification


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPart(Part):
    """Verifies tokens. `identification` verifies the token of a request, `still` raises Refused if the access of its
    caller has ended since, and `serve` sets the tenants."""

    identity: Identity
    identification: Identification
    still: Callable[[Caller], None]
    serve: Callable[[Snapshot], None]


def identity_part(
    settings: Settings, revocations: Revocations | None = None, fetch_for: FetchFor | None = None
) -> IdentityPart:
    """Signing keys are fetched by `fetch_for`, by default with a separate HTTP client, and refreshed while the server
    runs. Who changes `revocations` lets `identity` forget the tokens of those whose access has ended."""
    client = http_client(settings.ca_bundle, proxy=settings.way_out)
    identity = create_identity(settings, fetch_for or (lambda of: partial(fetch_keys, client, of)), revocations)
    identity.serve(_tenants(settings, own_tenants(settings)))  # people sign in where there is no workflow yet, too

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        await client.aclose()

    return IdentityPart(
        identity=identity,
        identification=Identification(identity.recall, identity.identify, mcp_scope(settings)),
        still=(revocations or NoRevocations()).check,
        serve=lambda snapshot: identity.serve(tenants(settings, snapshot)),
        life=life,
        tasks=(identity.run,),
        checks={"signing_keys": keys_usable(lambda: identity.ready, lambda: identity.errors)},
        metrics=(key_metrics(lambda: identity.ages),),
    )


def mcp_scope(settings: Settings) -> str:
    """The scope of tokens for `/mcp` only; "" if POSTERN_MCP_SCOPE names none."""
    return "" if settings.mcp_scope == DEFAULT_SCOPE else settings.mcp_scope


def create_identity(settings: Settings, fetch_for: FetchFor, revocations: Revocations | None = None) -> Identity:
    """The Identity for the settings; `fetch_for` returns the function that fetches a tenant's signing keys."""
    return Identity(
        fetch_for,
        leeway=settings.clock_leeway,
        max_age=min(settings.keys_max_age, settings.keys_stale / 2),  # a refresh may fail once before keys go stale
        cooldown=settings.keys_cooldown,
        stale=settings.keys_stale,
        revocations=revocations,
    )


def tenants(settings: Settings, snapshot: Snapshot) -> list[Tenant]:
    """Every tenant whose tokens a workflow of the catalog accepts."""
    policies = [trigger.policy for trigger in snapshot.triggers.values()]
    ids = set(own_tenants(settings)).union(*(policy.tenants for policy in policies if isinstance(policy, Guarded)))
    return _tenants(settings, ids)


def _tenants(settings: Settings, ids: Iterable[str]) -> list[Tenant]:
    return [tenant(tenant_id, settings.cloud, settings.authority) for tenant_id in sorted(ids)]
