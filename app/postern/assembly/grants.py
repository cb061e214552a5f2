"""Grants: connections that people connect, and whose tokens the server keeps and renews."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from postern.api.grant_actions import GrantActions
from postern.assembly.part import Part
from postern.connections.grants.entries import GrantedEntry, granted_entries
from postern.connections.grants.provider import Provider
from postern.connections.grants.store import Grants
from postern.journal.journal import Journal
from postern.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantsPart(Part):
    """The entries that people connect, by the names of their grants, with the provider of each. `actions` are what
    people and operators do with grants, on pages at `address` ("" if there are none). `grants` hands out tokens and
    renews them; None if no entry is of this kind."""

    entries: Mapping[str, GrantedEntry]
    actions: GrantActions
    address: str
    providers: Mapping[str, Provider] = field(default_factory=dict)
    grants: Grants | None = None


def grants_part(
    settings: Settings, journal: Journal, log: FilteringBoundLogger, local_address: str | None
) -> GrantsPart:
    """Grants are renewed in the background while the server runs. Without an entry that needs it, the part is empty.
    `local_address` is where browsers reach the server with a local tenant, "" with a real one, and None if the console
    is off."""
    entries = granted_entries(settings)
    address = "" if local_address is None else local_address or settings.public_url or ""
    grants = None
    actions = GrantActions(entries, grants, journal.read, journal.write, settings.tenant_id or "", log)
    return GrantsPart(entries=entries, actions=actions, address=address)
