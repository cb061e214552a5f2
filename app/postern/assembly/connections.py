"""Connections: the outside systems and secrets that workflows may reach."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postern.api.metrics import secret_metrics
from postern.assembly.identity import authority
from postern.assembly.part import Part
from postern.connections import Connections
from postern.connections.vault.expiry import Expiry
from postern.settings import Settings
from postern.settings.references import secret_references


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsPart(Part):
    """The entries of the settings, and the vault. `expiry` knows until when its secrets are valid."""

    connections: Connections
    expiry: Expiry


def connections_part(settings: Settings) -> ConnectionsPart:
    """With a Key Vault, the server checks for secrets that expire soon while it runs."""
    connections = Connections(settings, authority(settings))
    expiry = Expiry(connections.vault, secret_references(settings), requested=lambda: connections.vault.names)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        connections.home.settle()
        yield
        await connections.aclose()

    return ConnectionsPart(
        connections=connections,
        expiry=expiry,
        life=life,
        tasks=(expiry.run,) if settings.key_vault_url else (),
        metrics=(secret_metrics(lambda: expiry.ends),),
    )
