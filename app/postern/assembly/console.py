"""The console: pages for people, if the settings have what signing in needs."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

from structlog.typing import FilteringBoundLogger

from postern.api.docs import TokenCommand
from postern.api.health import Readiness
from postern.assembly.api import ApiPart
from postern.assembly.catalog import CatalogPart
from postern.assembly.connections import ConnectionsPart
from postern.assembly.identity import IdentityPart, installation_of
from postern.assembly.part import Part
from postern.assembly.refusals import RefusalsPart
from postern.assembly.runs import RunsPart
from postern.connections.own_proof import OwnProof
from postern.console.assets import load_assets
from postern.console.cookies import cookies_at
from postern.console.entra import Entra
from postern.console.frame import Frame
from postern.console.guard import Guard
from postern.console.routes import routes
from postern.console.services import LocalCaller, Services
from postern.console.sessions import Sessions
from postern.console.sign_in import SignIn
from postern.http_client import AsyncClient, http_client
from postern.identity import fetch_endpoints, tenant
from postern.identity.explained import explained
from postern.journal.journal import Journal
from postern.journal.sessions import ends_of
from postern.settings import Settings
from postern.settings.console import missing_for_console


def console_part(
    settings: Settings,
    journal: Journal,
    identity: IdentityPart,
    catalog: CatalogPart,
    connections: ConnectionsPart,
    runs: RunsPart,
    refusals: RefusalsPart,
    api: ApiPart,
    readiness: Readiness,
    log: FilteringBoundLogger,
    local_address: str | None,
    local_tokens: TokenCommand | None = None,
    local_caller: LocalCaller = lambda _name, _policy: None,
) -> Part:
    """`/console`. Without what it needs it has no pages, and the log says what that is. `local_address` is where
    browsers on this machine reach the server, if the tenant is the local one."""
    address = local_address or settings.public_url or ""
    if missing := missing_for_console(settings, address):
        return _off(missing, log)

    client = http_client(settings.ca_bundle, proxy=settings.way_out)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        log.info("console-on", address=f"{address}/console", open_to=settings.console)
        try:
            yield
        finally:
            await client.aclose()

    installation, assets, node = installation_of(settings), load_assets(), journal.node[-8:]
    sessions = Sessions(
        cookies_at(address), journal.read, journal.write, journal.write_soon, installation, ends_of(settings)
    )
    services = Services(
        settings=settings,
        installation=installation,
        read=journal.read,
        write=journal.write,
        cancel=runs.runner.cancel,
        resubmit=api.resubmit,
        underway=api.underway,
        snapshot=catalog.snapshot,
        log=log,
        node=node,
        local=local_address is not None,
        address=address,
        explain=partial(explained, identity.identity),
        local_caller=local_caller,
        token_command=local_tokens,
        secret_states=lambda: connections.expiry.states,
        read_secrets=connections.expiry.look,
        readiness=readiness.reasons,
    )
    frame = Frame(address, assets.version, node)
    guard = Guard(frame, sessions, settings.console == "operators", refusals.take, log)
    sign_in = SignIn(frame, sessions, _entra(settings, address, client, identity, connections), journal.write, log)
    return Part(routes=routes(services, guard, sign_in, assets), life=life)


def _off(missing: Iterable[str], log: FilteringBoundLogger) -> Part:
    """No pages, and a line in the log that says why."""

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        log.info("console-off", missing="; ".join(missing))
        yield

    return Part(life=life)


def _entra(
    settings: Settings, address: str, client: AsyncClient, identity: IdentityPart, connections: ConnectionsPart
) -> Entra:
    """The settings' own tenant and application."""
    own_tenant = tenant(settings.tenant_id or "", settings.cloud, settings.authority)
    client_id = settings.client_id or ""
    proof = OwnProof(client_id, settings.client_secret_name or "", lambda: connections.connections.context)
    find = partial(fetch_endpoints, client, own_tenant)
    return Entra(own_tenant.tenant_id, client_id, address, find, client, proof, identity.identity.sign_in)
