"""Checks of the tenant: its metadata, its signing keys, and the clocks of Entra and of this machine."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from postern.cli.diagnosis.finding import Finding, failed, ok, warning
from postern.connections.unreached import remedy
from postern.http_client import AsyncClient, HTTPError, http_client
from postern.identity import Tenant, fetch_endpoints, fetch_keys, tenant
from postern.identity.discovery import EntraFault
from postern.identity.key_set import KeysFault, parse_keys
from postern.settings import Settings

NO_TENANT = "POSTERN_TENANT_ID is not set: only anonymous workflows can be called"
SET_TENANT = "Set POSTERN_TENANT_ID, POSTERN_CLIENT_ID and POSTERN_AUDIENCE"
REACH = "See that this machine can reach Entra, if need be through POSTERN_PROXY, and that {} is right"
UNFIT = "See that POSTERN_TENANT_ID and {} are right, and that no proxy changes responses"
SECONDS = 8.0


async def check_tenant(settings: Settings, *, local: bool) -> list[Finding]:
    """Whether the metadata of the tenant can be fetched, and are its own."""
    if settings.tenant_id is None:
        return warning(NO_TENANT, SET_TENANT)
    own = tenant(settings.tenant_id, settings.cloud, settings.authority)
    async with http_client(settings.ca_bundle, proxy=settings.way_out) as client:
        try:
            await fetch_endpoints(client, own, seconds=SECONDS)
        except (HTTPError, EntraFault, ValueError, TimeoutError) as error:
            return _unreached(settings, own, error, local=local)
    return ok(f"{own.authority} knows the tenant {own.tenant_id}")


async def check_keys(settings: Settings, *, local: bool) -> list[Finding]:
    """Whether the tenant's signing keys can be fetched and used."""
    if settings.tenant_id is None:
        return warning(NO_TENANT, SET_TENANT)
    own = tenant(settings.tenant_id, settings.cloud, settings.authority)
    async with http_client(settings.ca_bundle, proxy=settings.way_out) as client:
        try:
            keys = parse_keys(await fetch_keys(client, own, seconds=SECONDS), own)
        except KeysFault as fault:
            return failed(f"the tenant's signing keys cannot be used: {fault}", "See whether a proxy changes responses")
        except (HTTPError, EntraFault, ValueError, TimeoutError) as error:
            return _unreached(settings, own, error, local=local)
    return ok(f"{len(keys)} signing key{'' if len(keys) == 1 else 's'} of the tenant")


async def check_clock(settings: Settings, *, local: bool, now: Callable[[], float] = time.time) -> list[Finding]:
    """Compare this machine's clock with that of Entra, by the Date of a response."""
    if settings.tenant_id is None:
        return warning(NO_TENANT, SET_TENANT)
    own = tenant(settings.tenant_id, settings.cloud, settings.authority)
    url = f"{own.authority}/{own.tenant_id}/v2.0/.well-known/openid-configuration"
    async with http_client(settings.ca_bundle, proxy=settings.way_out, timeout=SECONDS) as client:
        try:
            sent = now()
            date = (await _head(client, url)) or ""
            received = now()
        except HTTPError as error:
            return _unreached(settings, own, error, local=local)
    try:
        entra = parsedate_to_datetime(date)
    except ValueError:
        return warning("the response of Entra has no Date", "See whether a proxy changes responses")
    return clock_finding((entra if entra.tzinfo else entra.replace(tzinfo=UTC)), sent, received, settings.clock_leeway)


def clock_finding(entra: datetime, sent: float, received: float, leeway: int) -> list[Finding]:
    """What the difference of the clocks means. Pure. A Date has whole seconds, and was made between the two times."""
    ahead = (sent + received) / 2 - (entra.timestamp() + 0.5)
    unknown = (received - sent) / 2 + 0.5
    difference = max(abs(ahead) - unknown, 0.0)
    where = "ahead of" if ahead > 0 else "behind"
    fix = "Set this machine's clock (NTP): tokens are rejected by not-before, expiry or issued-at otherwise"
    if difference > leeway:
        return failed(
            f"this machine's clock is {difference:.0f} s {where} Entra's, and POSTERN_CLOCK_LEEWAY is {leeway} s", fix
        )
    if difference > max(leeway / 2, 2):
        return warning(f"this machine's clock is {difference:.0f} s {where} Entra's, of {leeway} s allowed", fix)
    return ok(f"this machine's clock is within {difference + unknown:.0f} s of Entra's, of {leeway} s allowed")


async def _head(client: AsyncClient, url: str) -> str | None:
    async with client.stream("GET", url) as response:
        date: str | None = response.headers.get("date")
        return date


def _unreached(settings: Settings, own: Tenant, error: BaseException, *, local: bool) -> list[Finding]:
    if local:
        return failed("the local tenant does not answer", "It answers only while `postern dev` runs: start it")
    reason = str(error) if isinstance(error, EntraFault) else type(error).__name__
    where = "POSTERN_AUTHORITY" if settings.authority else "POSTERN_CLOUD"
    fix = remedy(error) or (UNFIT if isinstance(error, EntraFault) else REACH).format(where)
    return failed(f"{own.authority} gives no metadata of the tenant {own.tenant_id}: {reason}", fix)
