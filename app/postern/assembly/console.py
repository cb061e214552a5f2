"""The console: pages for people. It is loaded for the first request for one of them."""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial

from sqlalchemy import Connection
from starlette.routing import Route

from postern.assembly.console_needs import Beside, Local, address_of
from postern.assembly.entra_accounts import entra_accounts
from postern.assembly.foundation import Foundation
from postern.assembly.identity import mcp_scope
from postern.assembly.installation import installation_of
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
from postern.http_client import AsyncClient
from postern.identity import Accounts, fetch_endpoints, tenant
from postern.identity.explained import explained
from postern.journal.sessions import ends_of


def console_pages(base: Foundation, beside: Beside, local: Local, client: AsyncClient) -> Iterable[Route]:
    """The routes of `/console`. `client` is for Entra."""
    settings, log, journal = base.settings, base.log, base.journal
    address = address_of(settings, local)
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
    return routes(services, guard, sign_in, assets)


def _services(base: Foundation, beside: Beside, local: Local, address: str, accounts: Accounts) -> Services:
    """What the pages get."""
    settings, journal, expiry = base.settings, base.journal, base.connections.expiry
    actions = beside.api.actions()
    connections = base.connections.connections

    def stages(entry: str) -> AsyncIterator[Stage]:
        return stages_of(entry, settings, OfPeople(journal.read, accounts), open_tunnel=connections.tunnels.open)

    return Services(
        settings=settings,
        installation=installation_of(settings),
        read=journal.read,
        write=journal.write,
        cancel=beside.runs.runner.cancel,
        resubmit=actions.resubmit,
        underway=actions.underway,
        snapshot=base.catalog.snapshot,
        log=base.log,
        local=bool(local.address),
        address=address,
        explain=partial(explained, base.identity.identity, mcp_scope=mcp_scope(settings)),
        local_caller=local.caller,
        token_command=local.tokens,
        secret_states=lambda: expiry.states,
        read_secrets=expiry.look,
        readiness=beside.readiness.reasons,
        grants=beside.grants.actions(),
        provider=beside.grants.provider,
        revoking=beside.revocation.revoking(),
        signed_urls=beside.signed_urls.actions(),
        stages=stages,
        gateways=beside.gateways,
        note=base.note,
        review=beside.review(),
        run_audit=actions.run_audit,
        findings=actions.findings,
        approvals=actions.approvals,
        signals=actions.signals,
        durable=actions.durable,
    )


def _entra(base: Foundation, client: AsyncClient, address: str) -> Entra:
    """The settings' own tenant and application."""
    settings = base.settings
    own_tenant = tenant(settings.tenant_id or "", settings.cloud, settings.authority)
    client_id = settings.client_id or ""
    proof = OwnProof(client_id, settings.client_secret_name or "", lambda: base.connections.connections.context)
    find = partial(fetch_endpoints, client, own_tenant)
    return Entra(own_tenant.tenant_id, client_id, address, find, client, proof, base.identity.identity.sign_in)
