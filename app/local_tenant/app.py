"""The local tenant's HTTP applications: Entra, Key Vault and Graph under one address, managed identities at another."""

from collections.abc import Callable
from typing import Protocol

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from app.local_tenant.entra import Entra
from app.local_tenant.faults import Faulty
from app.local_tenant.graph import Graph
from app.local_tenant.identity import ManagedIdentities
from app.local_tenant.key_vault import KeyVault
from app.local_tenant.tenant import LocalTenant


class Part(Protocol):
    """A part of the tenant."""

    def routes(self) -> list[Route]:
        """What it answers."""


def create_app(tenant: LocalTenant, clock: Callable[[], float]) -> ASGIApp:
    """The application for one tenant. `clock` tells the seconds since 1970."""
    return _together(tenant, Entra(tenant, clock), KeyVault(tenant, clock), Graph(tenant, clock))


def create_identity_app(tenant: LocalTenant, clock: Callable[[], float], secret: str) -> ASGIApp:
    """The application that stands beside a container and gives it tokens of its managed identities."""
    return _together(tenant, ManagedIdentities(tenant, clock, secret))


def _together(tenant: LocalTenant, *parts: Part) -> ASGIApp:
    app = Starlette(routes=[route for part in parts for route in part.routes()])
    app.router.redirect_slashes = False  # Key Vault's client asks with the slash, people without: both are routes
    return Faulty(app, tenant.faults)
