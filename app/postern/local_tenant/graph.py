"""A very small Microsoft Graph: it finds people by the beginning of their name, and tells a person who they are.

Reference: learn.microsoft.com/graph/api/user-list and user-get.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from postern.local_tenant.accounts import with_object_id
from postern.local_tenant.bearer import bearer_token
from postern.local_tenant.directory import FOREIGN_TENANT_ID, Person
from postern.local_tenant.refusals import OF_ACCESS_TOKENS
from postern.local_tenant.tenant import GRAPH_AUDIENCE, LocalTenant
from postern.local_tenant.tokens import BACKDATED, issuer, verify

# A quote inside an OData string is written twice.
_STARTS_WITH = re.compile(r"startswith\(\s*displayName\s*,\s*'((?:[^']|'')*)'\s*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Graph:
    """Graph's endpoints for one tenant."""

    tenant: LocalTenant
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """The list of users, and the person whose token it is."""
        return [
            Route("/graph/v1.0/users", self.users, methods=["GET"]),
            Route("/graph/v1.0/me", self.me, methods=["GET"]),
        ]

    async def me(self, request: Request) -> JSONResponse:
        """The person whom the token was issued for."""
        token = bearer_token(request)
        claims = None if token is None else self._claims_of_person(token)
        if claims is None:
            return self._error(401, "InvalidAuthenticationToken", "No valid access token for Graph.")
        person = with_object_id(self.tenant.directory.people.values(), claims["oid"])
        if person is None:
            return self._error(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
        signed_in_at = claims.get("auth_time", claims["iat"] + BACKDATED)
        if self.tenant.refusals.of(person.name, signed_in_at) in OF_ACCESS_TOKENS:
            return self._error(401, "InvalidAuthenticationToken", "Continuous access evaluation rejects the token.")
        if "User.Read" not in claims.get("scp", "").split():
            return self._error(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        return JSONResponse({"@odata.context": f"{self.tenant.graph_url}/$metadata#users/$entity", **_user(person)})

    def _claims_of_person(self, token: str) -> dict[str, Any] | None:
        """The claims of a token for Graph, of this tenant or of that where guests are at home."""
        issuers = [*self.tenant.issuers, issuer(1, self.tenant.authority, FOREIGN_TENANT_ID)]
        keys, now = self.tenant.signing_keys, self.clock()
        return verify(token, keys, issuers=issuers, audience=GRAPH_AUDIENCE, now=now)

    async def users(self, request: Request) -> JSONResponse:
        """The people, optionally filtered by the beginning of their display name (`$filter`)."""
        token = bearer_token(request)
        if token is None or self.tenant.verify(token, GRAPH_AUDIENCE, self.clock()) is None:
            return self._error(401, "InvalidAuthenticationToken", "No valid access token for Graph.")
        people = list(self.tenant.directory.people.values())
        if set(request.query_params) - {"$filter"} or len(request.query_params.getlist("$filter")) > 1:
            return self._error(
                400, "BadRequest", "This stand-in for Graph supports one $filter and no other parameter."
            )
        if "$filter" in request.query_params:
            beginning = display_name_filter(request.query_params["$filter"])
            if beginning is None:
                return self._error(
                    400, "BadRequest", "Invalid filter clause: only startswith(displayName,'x') is supported."
                )
            people = [person for person in people if person.display_name.lower().startswith(beginning.lower())]
        return JSONResponse({"value": [_user(person) for person in people]})

    def _error(self, status: int, code: str, message: str) -> JSONResponse:
        inner = {
            "date": datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": str(uuid.uuid4()),
        }
        document = {"error": {"code": code, "message": message, "innerError": inner}}
        return JSONResponse(document, status, headers={"WWW-Authenticate": "Bearer"} if status == 401 else None)


def display_name_filter(text: str) -> str | None:
    """The text in `startswith(displayName,'...')`; None if the filter is anything else."""
    found = _STARTS_WITH.fullmatch(text.strip())
    return found[1].replace("''", "'") if found else None


def _user(person: Person) -> dict[str, str]:
    return {
        "id": person.object_id,
        "displayName": person.display_name,
        "mail": person.mail,
        "userPrincipalName": person.user_principal_name,
    }
