"""Managed identities: the endpoint that gives tokens to a container of App Service or Container Apps.

Reference: learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference".
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from postern.local_tenant.directory import SYSTEM_IDENTITY, Application
from postern.local_tenant.resources import knows
from postern.local_tenant.tenant import EXCHANGE_AUDIENCE, LocalTenant
from postern.local_tenant.tokens import LIFETIME, Version

API_VERSION = "2019-08-01"


@dataclass(frozen=True, slots=True)
class ManagedIdentities:
    """The endpoint for one tenant. `secret` is the value of IDENTITY_HEADER."""

    tenant: LocalTenant
    clock: Callable[[], float]
    secret: str = field(repr=False)

    def routes(self) -> list[Route]:
        """The route that IDENTITY_ENDPOINT names."""
        return [Route("/msi/token", self.token, methods=["GET"])]

    async def token(self, request: Request) -> JSONResponse:
        """A token for `resource`: of the system-assigned identity, or of the user-assigned one with `client_id`."""
        if not hmac.compare_digest(request.headers.get("x-identity-header", "").encode(), self.secret.encode()):
            return _error(401, "The X-IDENTITY-HEADER is missing or wrong.")
        if request.query_params.get("api-version") != API_VERSION:
            return _error(400, f"The api-version has to be {API_VERSION}.")
        resource = request.query_params.get("resource", "")
        if not knows(self.tenant, resource):
            return _error(400, "There is no such resource in this tenant.")
        identity = self._identity(request.query_params.get("client_id"))
        if identity is None:
            return _error(400, "No user-assigned managed identity with this client id is assigned here.")
        return JSONResponse(self._answer(identity, resource), headers={"Cache-Control": "no-store"})

    def _identity(self, client_id: str | None) -> Application | None:
        if client_id is None:
            return self.tenant.directory.identities[SYSTEM_IDENTITY.name]
        return self.tenant.directory.identity(client_id)

    def _answer(self, identity: Application, resource: str) -> dict[str, Any]:
        now = self.clock()
        version: Version = 2 if resource == EXCHANGE_AUDIENCE or ":" not in resource else 1
        token = self.tenant.token(identity.name, audience=resource, version=version, now=now)
        return {
            "access_token": token,
            "expires_on": str(int(now) + LIFETIME),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": identity.client_id,
        }


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"statusCode": status, "message": message}, status)
