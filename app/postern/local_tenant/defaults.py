"""The settings that a local tenant provides in place of a real one."""

from typing import Any

from postern.local_tenant.directory import EXAMPLE_CONNECTION
from postern.local_tenant.flow_addresses import FLOWS_AUDIENCE, flow_url
from postern.local_tenant.tenant import LocalTenant
from postern.local_tenant.vault import AUDIT_KEY_NAME, DURABLE_KEY_NAME, GRANTS_KEY_NAME

OWN_APPLICATION = "postern"
"""Postern's own application in the local tenant."""

OPERATOR = "ada"
"""The operator in the local tenant."""


def local_defaults(local: LocalTenant) -> dict[str, Any]:
    """The settings that the local tenant provides: its addresses, its people, connections to its directory, as the
    application and as the caller, and a flow to call."""
    own = local.applications[OWN_APPLICATION]
    return {
        "tenant_id": local.tenant_id,
        "audience": list(local.audiences),
        "authority": local.authority,
        "client_id": local.client_id,
        "client_secret_name": own.client_secret_name,
        "key_vault_url": local.key_vault_url,
        "grants_key_name": GRANTS_KEY_NAME,
        "audit_key_name": AUDIT_KEY_NAME,
        "durable_key_name": DURABLE_KEY_NAME,
        "azure_credential": "client_secret",
        "ca_bundle": str(local.ca_bundle),
        "people": {**local.people, OWN_APPLICATION: own.object_id},
        "operators": [local.people[OPERATOR]],
        "connections": {
            "graph": {
                "base_url": local.graph_url,
                "auth": {
                    "type": "entra",
                    "client_id": local.client_id,
                    "client_secret": {"key_vault": own.client_secret_name},
                    "scopes": ["https://graph.microsoft.com/.default"],
                },
            },
            EXAMPLE_CONNECTION: {
                "base_url": local.graph_url,
                "auth": {
                    "type": "oauth2",
                    "flow": "authorization_code",
                    "identity_provider": "entra",
                    "client_id": local.client_id,
                    "client_secret": {"key_vault": own.client_secret_name},
                    "scopes": ["User.Read", "offline_access", "openid", "profile"],
                    "per_user": True,
                },
            },
        },
        "triggers": {
            "approve-leave": {
                "url": flow_url(local, "approve-leave"),
                "auth": {
                    "type": "entra",
                    "client_id": local.client_id,
                    "client_secret": {"key_vault": own.client_secret_name},
                    "audience": FLOWS_AUDIENCE,
                },
            }
        },
    }
