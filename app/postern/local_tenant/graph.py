"""A very small Microsoft Graph: it finds people by the beginning of their name, and people and service principals by
object id, and tells a person who they are.

Reference: learn.microsoft.com/graph/api/user-list, user-get and serviceprincipal-get.
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
_BY_ID = re.compile(r"/(users|servicePrincipals)/([0-9A-Fa-f-]{36})(?:\?\$select=([A-Za-z,]+))?")
MOST_IN_BATCH = 20
"""Requests in a batch (learn.microsoft.com/graph/json-batching)."""


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
            Route("/graph/v1.0/$batch", self.batch, methods=["POST"]),
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

    async def batch(self, request: Request) -> JSONResponse:
        """Up to 20 requests in one. Those for a user or a service principal by object id are supported."""
        token = bearer_token(request)
        if token is None or self.tenant.verify(token, GRAPH_AUDIENCE, self.clock()) is None:
            return self._error(401, "InvalidAuthenticationToken", "No valid access token for Graph.")
        try:
            asked = [(str(each["id"]), each["method"], str(each["url"])) for each in (await request.json())["requests"]]
        except (ValueError, KeyError, TypeError):
            return self._error(400, "BadRequest", "Invalid batch payload format.")
        if len(asked) > MOST_IN_BATCH:
            return self._error(400, "BadRequest", f"Number of batch request steps exceeds {MOST_IN_BATCH}.")
        return JSONResponse({"responses": [self._one(number, method, url) for number, method, url in asked]})

    def _one(self, number: str, method: str, url: str) -> dict[str, Any]:
        """The response to one request of a batch."""
        found = _BY_ID.fullmatch(url)
        if method != "GET" or found is None:
            return {"id": number, "status": 400, "body": {"error": {"code": "BadRequest"}}}
        body = self._object(found[1], found[2].lower())
        if body is None:
            return {"id": number, "status": 404, "body": {"error": {"code": "Request_ResourceNotFound"}}}
        chosen = found[3].split(",") if found[3] else list(body)
        return {"id": number, "status": 200, "body": {name: body[name] for name in chosen if name in body}}

    def _object(self, kind: str, object_id: str) -> dict[str, Any] | None:
        directory = self.tenant.directory
        if kind == "users":
            person = with_object_id(directory.people.values(), object_id)
            return None if person is None else _user(person) | _account(person)
        for each in (*directory.applications.values(), *directory.identities.values()):
            if each.object_id == object_id:
                return {"id": object_id, "displayName": each.name, "appId": each.client_id, "accountEnabled": True}
        return None

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


def _account(person: Person) -> dict[str, Any]:
    return {"userType": "Guest" if person.guest else "Member", "accountEnabled": True}


def _user(person: Person) -> dict[str, str]:
    return {
        "id": person.object_id,
        "displayName": person.display_name,
        "mail": person.mail,
        "userPrincipalName": person.user_principal_name,
    }
