"""The local tenant's HTTP applications: Entra, Key Vault, Graph and flows at one address; the pages for
people, and managed identities, apart."""

from collections.abc import Callable
from typing import Protocol

from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from postern.local_tenant.entra_endpoints import Entra
from postern.local_tenant.faults import Faulty
from postern.local_tenant.flows import Flows
from postern.local_tenant.graph import Graph
from postern.local_tenant.key_vault import KeyVault
from postern.local_tenant.managed_identity import ManagedIdentities
from postern.local_tenant.sign_in_pages import SignInPages
from postern.local_tenant.state import HOST
from postern.local_tenant.tenant import LocalTenant


class Part(Protocol):
    """A part of the tenant."""

    def routes(self) -> list[Route]:
        """Its routes."""


def create_app(tenant: LocalTenant, clock: Callable[[], float]) -> ASGIApp:
    """The application for one tenant. `clock` returns the seconds since 1970."""
    return _together(tenant, Entra(tenant, clock), KeyVault(tenant, clock), Graph(tenant, clock), Flows(tenant, clock))


def create_sign_in_app(tenant: LocalTenant, clock: Callable[[], float]) -> ASGIApp:
    """The application with the pages for people. It answers at its own address only, so that no site can read it under
    a name that leads to loopback."""
    app = Starlette(routes=SignInPages(tenant, clock).routes())
    return TrustedHostMiddleware(app, allowed_hosts=[HOST, "localhost"])


def create_identity_app(tenant: LocalTenant, clock: Callable[[], float], secret: str) -> ASGIApp:
    """The application that runs beside a container and issues tokens of its managed identities to it."""
    return _together(tenant, ManagedIdentities(tenant, clock, secret))


def _together(tenant: LocalTenant, *parts: Part) -> ASGIApp:
    app = Starlette(routes=[route for part in parts for route in part.routes()])
    app.router.redirect_slashes = False  # Key Vault's client sends the slash and people do not: both are routes
    return Faulty(app, tenant.faults)
