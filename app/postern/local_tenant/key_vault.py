"""Key Vault's part: the challenge, reading secrets, and Key Vault's error documents.

Reference: learn.microsoft.com/rest/api/keyvault, "Get Secret", and "Authentication, requests and responses".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from postern.local_tenant.bearer import bearer_token
from postern.local_tenant.tenant import LocalTenant
from postern.local_tenant.vault import SecretVersion

_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class KeyVault:
    """The vault's endpoints for one tenant."""

    tenant: LocalTenant
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """The latest version of a secret (with or without the slash), and a specific one."""
        paths = ("/secrets/{name}", "/secrets/{name}/", "/secrets/{name}/{version}")
        return [Route(path, self.secret, methods=["GET"]) for path in paths]

    async def secret(self, request: Request) -> JSONResponse:
        """One version of a secret, for an application that may read the vault."""
        token = bearer_token(request)
        resource = self.tenant.vault_resource
        claims = self.tenant.verify(token, resource, self.clock()) if token else None
        if claims is None:
            challenge = f'Bearer authorization="{self.tenant.authority}/{self.tenant.tenant_id}", resource="{resource}"'
            return _error(401, "Unauthorized", "No valid access token.", headers={"WWW-Authenticate": challenge})
        if not self._may_read(claims):
            return _error(403, "Forbidden", "The caller has no right to read secrets.", inner="ForbiddenByRbac")
        name = request.path_params["name"]
        versions = self.tenant.vault.versions(name)
        wanted = request.path_params.get("version", "")
        found = next((each for each in reversed(versions) if wanted in ("", each.version)), None)
        if found is None:
            return _error(404, "SecretNotFound", "There is no such secret in this vault.")
        if not found.enabled:
            return _error(403, "Forbidden", "The secret is disabled.", inner="SecretDisabled")
        return JSONResponse(self._bundle(name, found), headers=_NO_STORE)

    def _may_read(self, claims: dict[str, Any]) -> bool:
        client_id = str(claims.get("appid") or claims.get("azp"))
        application = self.tenant.directory.application(client_id) or self.tenant.directory.identity(client_id)
        return claims.get("idtyp") == "app" and application is not None and application.reads_vault

    def _bundle(self, name: str, secret: SecretVersion) -> dict[str, Any]:
        attributes = {
            "enabled": secret.enabled,
            "created": secret.created,
            "updated": secret.updated,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        }
        if secret.expires is not None:
            attributes["exp"] = secret.expires
        identifier = f"{self.tenant.key_vault_url}/secrets/{name}/{secret.version}"
        bundle = {"value": secret.value, "id": identifier, "attributes": attributes}
        return bundle | ({"contentType": secret.content_type} if secret.content_type else {})


def _error(
    status: int, code: str, message: str, *, inner: str = "", headers: dict[str, str] | None = None
) -> JSONResponse:
    error: dict[str, Any] = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    return JSONResponse({"error": error}, status, headers=_NO_STORE | (headers or {}))
