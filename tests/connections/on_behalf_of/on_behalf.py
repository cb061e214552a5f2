"""Entries on behalf of a caller, for tests."""

from typing import Any

from postern.connections.on_behalf_of.sign_in import OnBehalfOf
from postern.local_tenant import LocalTenant
from postern.settings import OnBehalfOfAuth
from tests.connections.entra_entries import around, reference

ENTRY = "connections.me"
GRAPH = "https://graph.microsoft.com/.default"


def auth(tenant: LocalTenant, **changed: Any) -> OnBehalfOfAuth:
    """An entry by the client secret of the local tenant's `postern`."""
    secret = reference(tenant.applications["postern"].client_secret_name)
    given: dict[str, Any] = {"on_behalf_of": True, "client_secret": secret, "scopes": (GRAPH,)}
    return OnBehalfOfAuth.model_construct(**given | changed)


def entry(tenant: LocalTenant, given: OnBehalfOfAuth | None = None, **changed: Any) -> OnBehalfOf:
    """What the runs of such an entry share."""
    return OnBehalfOf(ENTRY, given or auth(tenant), around(tenant, **{"client_id": tenant.client_id, **changed}))
