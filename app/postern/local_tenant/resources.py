"""The resources that the tenant issues tokens for. Entra issues tokens only for resources with a service principal."""

from postern.local_tenant.tenant import EXCHANGE_AUDIENCE, GRAPH_AUDIENCE, LocalTenant
from postern.local_tenant.tokens import Version, version_for

_MICROSOFT = (
    GRAPH_AUDIENCE,
    "https://vault.azure.net",
    "https://management.azure.com",
    "https://ossrdbms-aad.database.windows.net",
    "https://service.flow.microsoft.com",
    "https://gov.service.flow.microsoft.us",
    "https://high.service.flow.microsoft.us",
    "https://service.powerautomate.cn",
    "https://service.flow.appsplatform.us",
)
"""Microsoft's own, accepted with and without a slash at the end. The token's audience is the text of the request."""


def mcp_resource(tenant: LocalTenant) -> str:
    """The Application ID URI of Postern's registration that names its `/mcp`: clients send it as `resource`, so it is
    the same text. "" before a server was beside the tenant."""
    server = tenant.server_url.rstrip("/")
    return f"{server}/mcp" if server else ""


def issued_for(tenant: LocalTenant, audience: str) -> tuple[str, Version]:
    """The audience and the version of a token for a resource. One for `/mcp` has the registration's client id: an
    Application ID URI of https needs `requestedAccessTokenVersion` 2."""
    if audience and audience == mcp_resource(tenant):
        return tenant.client_id, 2
    return audience, version_for(audience)


def knows(tenant: LocalTenant, audience: str) -> bool:
    """Whether there is such a resource: an application by client id or Application ID URI, or one of Microsoft's."""
    own = {EXCHANGE_AUDIENCE, tenant.vault_resource}
    for application in tenant.applications.values():
        own |= {application.client_id, f"api://{application.client_id}", application.identifier_uri}
    own |= {mcp_resource(tenant)} - {""}
    return audience in own or audience.removesuffix("/") in _MICROSOFT
