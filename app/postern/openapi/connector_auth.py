"""The sign-in methods of a connector, and what each writes to its two files. Never a secret.

Shapes: the schemas and connectors published at github.com/microsoft/PowerPlatformConnectors.
"""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

NO_CLIENT_YET = "CLIENT-ID-OF-THE-CONNECTOR"
"""Used until the connector's registration is known: the portal asks for it."""

REDIRECT_URL = "https://global.consent.azure-apim.net/redirect"
"""The redirect URL of the public cloud. A connector gets its own below it when it is created."""

GATEWAY_KEY = "Ocp-Apim-Subscription-Key"
"""The header in which Azure API Management expects its keys by default."""


@dataclass(frozen=True, slots=True)
class Entra:
    """Sign-in with Microsoft Entra, as the person who owns the connection. `resource` is the resource of the tokens:
    Postern's Application ID URI, or its client id. `login_uri` is the origin of the cloud's Entra."""

    resource: str
    tenant_id: str
    login_uri: str
    client_id: str | None = None
    redirect_url: str | None = REDIRECT_URL

    def security(self) -> Json:
        """The security scheme. The platform uses the version 1.0 endpoints, which take a resource. The version of a
        token is decided by the registration of the resource."""
        place = f"{self.login_uri}/{self.tenant_id}/oauth2"
        return {
            "entra": {
                "type": "oauth2",
                "flow": "accessCode",
                "authorizationUrl": f"{place}/authorize",
                "tokenUrl": f"{place}/token",
                "scopes": {},
            }
        }

    def parameters(self) -> Json:
        """The connection's parameters. They name the tenant, because a single-tenant registration cannot be used
        through `common` (AADSTS50194)."""
        settings: Json = {
            "identityProvider": "aad",
            "clientId": self.client_id or NO_CLIENT_YET,
            "scopes": [],
            "redirectMode": "GlobalPerConnector",
        }
        if self.redirect_url:
            settings["redirectUrl"] = self.redirect_url
        settings["properties"] = {
            "IsFirstParty": "False",
            "AzureActiveDirectoryResourceId": self.resource,
            "IsOnbehalfofLoginSupported": True,
        }
        settings["customParameters"] = {
            "loginUri": {"value": self.login_uri},
            "tenantId": {"value": self.tenant_id},
            "resourceUri": {"value": self.resource},
            "enableOnbehalfOfLogin": {"value": "false"},
        }
        tenant: Json = {
            "type": "string",
            "metadata": {"sourceType": "AzureActiveDirectoryTenant"},
            "uiDefinition": {"constraints": {"required": "false", "hidden": "true"}},
        }
        return {"token": {"type": "oauthSetting", "oAuthSettings": settings}, "token:TenantId": tenant}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Sign-in with a key in a header, for a gateway in front of Postern."""

    header: str = GATEWAY_KEY

    def security(self) -> Json:
        """The security scheme."""
        return {"api_key": {"type": "apiKey", "in": "header", "name": self.header}}

    def parameters(self) -> Json:
        """The connection's parameters, which its maker fills in."""
        return {"api_key": _parameter("Key", "The key that the gateway gave you", 2, clear=False)}


@dataclass(frozen=True, slots=True)
class Basic:
    """Sign-in with user name and password, for a gateway in front of Postern."""

    def security(self) -> Json:
        """The security scheme."""
        return {"basic": {"type": "basic"}}

    def parameters(self) -> Json:
        """The connection's parameters, which its maker fills in."""
        return {
            "username": _parameter("User name", "The user name that the gateway knows", 2, clear=True),
            "password": _parameter("Password", "The password of that user name", 3, clear=False),
        }


@dataclass(frozen=True, slots=True)
class NoSignIn:
    """No sign-in."""

    def security(self) -> Json:
        """None."""
        return {}

    def parameters(self) -> Json:
        """None."""
        return {}


SignIn = Entra | ApiKey | Basic | NoSignIn


def _parameter(name: str, what: str, tab: int, *, clear: bool) -> Json:
    """A parameter that the person who makes a connection types in; the platform keeps it as a secret."""
    return {
        "type": "securestring",
        "uiDefinition": {
            "displayName": name,
            "description": f"{what}.",
            "tooltip": f"{what}.",
            "constraints": {"tabIndex": tab, "clearText": clear, "required": "true"},
        },
    }
