"""The local tenant's HTTP application: Entra, Key Vault, Graph and flows under one address."""

from collections.abc import Callable

from starlette.applications import Starlette

from app.local_tenant.entra import Entra
from app.local_tenant.flows import Flows
from app.local_tenant.graph import Graph
from app.local_tenant.key_vault import KeyVault
from app.local_tenant.tenant import LocalTenant


def create_app(tenant: LocalTenant, clock: Callable[[], float]) -> Starlette:
    """The application for one tenant. `clock` tells the seconds since 1970."""
    parts = (Entra(tenant, clock), KeyVault(tenant, clock), Graph(tenant, clock), Flows(tenant, clock))
    app = Starlette(routes=[route for part in parts for route in part.routes()])
    app.router.redirect_slashes = False  # Key Vault's client asks with the slash, people without: both are routes
    return app
