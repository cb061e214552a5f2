"""Grants: connections that people connect, and whose tokens the server keeps and renews."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from postern.access import Caller
from postern.api.access import is_operator
from postern.api.metrics import grant_metrics
from postern.assembly.entra_accounts import entra_accounts
from postern.assembly.foundation import Foundation
from postern.assembly.installation import installation_of
from postern.assembly.once import Once
from postern.assembly.part import Part
from postern.connections.grants.counts import GrantCounts
from postern.connections.grants.entries import GrantedEntry, granted_entries
from postern.connections.grants.places import place_of
from postern.connections.grants.provider import Provider
from postern.connections.grants.runs import GrantsOfRuns
from postern.connections.grants.seal import Seal
from postern.connections.grants.store import Grants
from postern.connections.sealing.vault_keys import GRANTS_KEY, VaultKeys
from postern.http_client import http_client
from postern.journal.reading.readers import SERVER
from postern.settings import GrantedAuth
from postern.settings.installation import Installation

if TYPE_CHECKING:
    from postern.api.grant_actions import GrantActions


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantsPart(Part):
    """The entries that people connect, by the names of their grants, and the provider of each. `actions` returns
    what people and operators do with grants, on pages at `address` ("" if there are none). `grants` hands out tokens
    and renews them; None if no entry is of this kind."""

    entries: Mapping[str, GrantedEntry]
    actions: Callable[[], "GrantActions"]
    address: str
    provider: Callable[[str], Provider]
    grants: Grants | None = None


def may_connect(installation: Installation, address: str) -> Callable[[Caller, bool], bool]:
    """Whether the caller of a run can connect an entry on a page: they have to be able to sign in there, and to be an
    operator for a shared one."""

    def may(caller: Caller, shared: bool) -> bool:
        if not address or caller.kind != "user" or caller.tenant_id not in installation.tenants:
            return False
        return not shared or is_operator(installation, caller)

    return may


def grants_part(base: Foundation, local_address: str | None) -> GrantsPart:
    """Grants are renewed in the background while the server runs. Without an entry that needs it, the part is empty.
    `local_address` is where browsers reach the server with a local tenant, ""
    with a real one, and None if the console is off. Grants of people whose access has ended are not used."""
    settings, journal, connections, revocations = base.settings, base.journal, base.connections, base.revocations
    entries = granted_entries(settings)
    address = "" if local_address is None else local_address or settings.public_url or ""

    def in_progress(run_id: str) -> bool:
        return connections.connections.in_progress(run_id)

    def place(name: str) -> str:
        return place_of(entries[name], connections.connections.context.authority)

    @cache
    def provider(name: str) -> Provider:
        entry, opened = entries[name], connections.connections
        context = replace(opened.context, http=opened.provider_client(entry.entry))
        from postern.connections.grants.oauth_provider import provider_of  # as below

        return provider_of(name, entry.auth, context, accounts)

    if not entries:
        actions = Once(partial(_actions, entries, base, None))
        return GrantsPart(entries=entries, actions=actions, address=address, provider=provider)
    from postern.connections.grants.server_grants import ServerGrants  # where people connect something only

    client = http_client(settings.ca_bundle, proxy=settings.way_out)
    accounts = entra_accounts(settings, client)
    seal = Seal(VaultKeys(connections.connections.vault, settings.grants_key_name or "", GRANTS_KEY), place)
    refused = revocations.refuses_owner
    grants = ServerGrants(journal.read, journal.write, seal, provider, journal.node, lambda: entries, refused=refused)
    revocations.on_revoked(lambda _: grants.revoked())
    of_runs = GrantsOfRuns(grants, may_connect(installation_of(settings), address), in_progress)
    read = partial(journal.read, caller=SERVER)
    counts = GrantCounts(read, {name: entry.per_user for name, entry in entries.items()})
    connections.connections.sign_in_of_runs(GrantedAuth, of_runs.sign_in)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        try:
            yield
            await grants.aclose()
        finally:
            await client.aclose()

    return GrantsPart(
        entries=entries,
        actions=Once(partial(_actions, entries, base, grants)),
        address=address,
        provider=provider,
        grants=grants,
        life=life,
        tasks=(grants.run, counts.run),
        metrics=(grant_metrics(lambda: counts.found, grants.counts.outcomes, grants.counts.seconds),),
    )


def _actions(entries: Mapping[str, GrantedEntry], base: Foundation, grants: Grants | None) -> "GrantActions":
    from postern.api.grant_actions import GrantActions  # for pages only

    journal, tenant_id, refused = base.journal, base.settings.tenant_id or "", base.revocations.refuses_owner
    return GrantActions(
        entries, grants, journal.read, journal.write, tenant_id, base.log, note=base.note, refused=refused
    )
