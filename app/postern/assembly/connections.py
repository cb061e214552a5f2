"""Connections: the outside systems and secrets that workflows may reach."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postern.api.metrics import secret_metrics
from postern.assembly.installation import authority
from postern.assembly.part import Part
from postern.connections import Connections
from postern.connections.on_behalf_of.callers import Callers
from postern.connections.vault.expiry import Expiry
from postern.settings import OnBehalfOfAuth, Settings
from postern.settings.own_application import on_behalf_of
from postern.settings.references import secret_references


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsPart(Part):
    """The entries of the settings, and the vault. `expiry` knows until when its secrets are valid. `callers` has the
    tokens of callers whose runs are in progress, None if no entry is used on behalf of a caller."""

    connections: Connections
    expiry: Expiry
    callers: Callers | None


def connections_part(settings: Settings, make: Callable[[Settings, str], Connections] = Connections) -> ConnectionsPart:
    """With a Key Vault, the server checks for secrets that expire soon while it runs."""
    connections = make(settings, authority(settings))
    expiry = Expiry(connections.vault, secret_references(settings), requested=lambda: connections.vault.names)

    callers = None
    if on_behalf_of(settings.connections, settings.triggers):
        callers = Callers(settings, lambda: connections.context)
        connections.sign_in_of_runs(OnBehalfOfAuth, callers.sign_in)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        connections.home.settle()
        yield
        if callers is not None:
            await callers.aclose()
        await connections.aclose()

    return ConnectionsPart(
        connections=connections,
        expiry=expiry,
        callers=callers,
        life=life,
        tasks=(expiry.run,) if settings.key_vault_url else (),
        metrics=(secret_metrics(lambda: expiry.ends),),
    )
