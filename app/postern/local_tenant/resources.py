"""The resources that the tenant issues tokens for. Entra issues tokens only for resources with a service principal."""

from postern.local_tenant.tenant import EXCHANGE_AUDIENCE, GRAPH_AUDIENCE, LocalTenant

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


def knows(tenant: LocalTenant, audience: str) -> bool:
    """Whether there is such a resource: an application by client id or Application ID URI, or one of Microsoft's."""
    own = {EXCHANGE_AUDIENCE, tenant.vault_resource}
    for application in tenant.applications.values():
        own |= {application.client_id, f"api://{application.client_id}", application.identifier_uri}
    return audience in own or audience.removesuffix("/") in _MICROSOFT
