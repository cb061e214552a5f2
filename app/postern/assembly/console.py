"""The console: pages for people. It is loaded only where the settings have what signing in needs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection

from postern.assembly.console_needs import Beside, Local
from postern.assembly.entra_accounts import entra_accounts
from postern.assembly.foundation import Foundation
from postern.assembly.identity import installation_of
from postern.assembly.part import Part
from postern.connections.entry_trial import OfPeople, stages_of
from postern.connections.own_proof import OwnProof
from postern.connections.stage import Stage
from postern.console.assets import load_assets
from postern.console.cookies import cookies_at
from postern.console.entra import Entra
from postern.console.frame import Frame
from postern.console.guard import Guard
from postern.console.routes import routes
from postern.console.services import Services
from postern.console.sessions import Sessions
from postern.console.sign_in import SignIn
from postern.http_client import AsyncClient, http_client
from postern.identity import Accounts, fetch_endpoints, tenant
from postern.identity.explained import explained
from postern.journal.sessions import ends_of


def console_part(base: Foundation, beside: Beside, local: Local) -> Part:
    """`/console`."""
    settings, log, journal = base.settings, base.log, base.journal
    address = local.address or settings.public_url or ""
    client = http_client(settings.ca_bundle, proxy=settings.way_out)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        log.info("console-on", address=f"{address}/console", open_to=settings.console)
        try:
            yield
        finally:
            await client.aclose()

    assets = load_assets()
    services = _services(base, beside, local, address, entra_accounts(settings, client))

    def note(operation: Callable[[Connection], object]) -> None:
        if journal.available:  # else it would wait in memory, as would those of all further requests
            journal.write_soon(operation)

    frame = Frame(address, assets.version, journal.node[-8:])
    sessions = Sessions(
        cookies_at(address),
        journal.read,
        journal.write,
        note,
        services.installation,
        ends_of(settings),
        revocations=base.revocations,
    )
    guard = Guard(frame, sessions, settings.console == "operators", beside.refusals.take, log)
    sign_in = SignIn(frame, sessions, _entra(base, client, address), journal.write, log, base.note)
    return Part(routes=routes(services, guard, sign_in, assets), life=life)


def _services(base: Foundation, beside: Beside, local: Local, address: str, accounts: Accounts) -> Services:
    """What the pages get."""
    settings, journal, expiry = base.settings, base.journal, base.connections.expiry
    connections = base.connections.connections

    def stages(entry: str) -> AsyncIterator[Stage]:
        return stages_of(entry, settings, OfPeople(journal.read, accounts), open_tunnel=connections.tunnels.open)

    return Services(
        settings=settings,
        installation=installation_of(settings),
        read=journal.read,
        write=journal.write,
        cancel=beside.runs.runner.cancel,
        resubmit=beside.api.resubmit,
        underway=beside.api.underway,
        snapshot=base.catalog.snapshot,
        log=base.log,
        local=bool(local.address),
        address=address,
        explain=partial(explained, base.identity.identity),
        local_caller=local.caller,
        token_command=local.tokens,
        secret_states=lambda: expiry.states,
        read_secrets=expiry.look,
        readiness=beside.readiness.reasons,
        grants=beside.grants.actions,
        provider=beside.grants.provider,
        revoking=beside.revocation.revoking,
        signed_urls=beside.signed_urls.actions,
        stages=stages,
        gateways=beside.gateways.states,
        note=base.note,
        review=beside.review.make,
        run_audit=beside.api.run_audit,
        findings=beside.api.findings,
        approvals=beside.api.approvals,
        signals=beside.api.signals,
        durable=beside.api.durable,
    )


def _entra(base: Foundation, client: AsyncClient, address: str) -> Entra:
    """The settings' own tenant and application."""
    settings = base.settings
    own_tenant = tenant(settings.tenant_id or "", settings.cloud, settings.authority)
    client_id = settings.client_id or ""
    proof = OwnProof(client_id, settings.client_secret_name or "", lambda: base.connections.connections.context)
    find = partial(fetch_endpoints, client, own_tenant)
    return Entra(own_tenant.tenant_id, client_id, address, find, client, proof, base.identity.identity.sign_in)
