"""`/workflows/{name}/signed-urls`: the URLs by which senders without a token call a workflow. For operators."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request

from postern.api.departure import Page
from postern.api.handlers import holder_for
from postern.api.list_query import no_parameters, pairs_of
from postern.api.operators import Operators
from postern.api.representation import when
from postern.api.sent_object import sent_json
from postern.api.signed_url_actions import SignedUrlActions, by_of, state_of, wish_of
from postern.errors import problem
from postern.journal.signed_urls import MOST_LISTED, SignedUrl
from postern.security.signed_urls.url import ID
from postern.triggers.reply import Answer, json_reply

MOST_BYTES = 64 * 1024
"""Bytes of the body of a request for a signed URL."""
PATH = "/workflows/{name}/signed-urls"
CURSOR = "cursor"


@dataclass(frozen=True, slots=True)
class SignedUrlHandlers:
    """The endpoints."""

    operator: Operators
    actions: SignedUrlActions
    now: Callable[[], float] = time.time

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """The endpoints by method and path."""
        return (
            ("GET", PATH, self.index),
            ("POST", PATH, self.make),
            ("DELETE", f"{PATH}/{{id}}", self.revoke),
        )

    async def index(self, request: Request) -> Answer:
        """The signed URLs of a workflow, also of one that is gone."""
        caller = await self.operator(request)
        pairs = pairs_of(request.scope["query_string"])
        if [name for name, _ in pairs] not in ([], [CURSOR]) or not all(ID.fullmatch(value) for _, value in pairs):
            errors = [{"where": "query", "message": f"may have `{CURSOR}`, once, from `next` of a list"}]
            raise problem("bad-filter", errors=errors)
        name = request.path_params["name"]
        after = (name, pairs[0][1]) if pairs else None
        rows = await self.actions.listed(name, holder_for(request, caller), after)
        following = rows[-1].id if len(rows) == MOST_LISTED else None
        return json_reply(200, to_json({"signed_urls": [self._json(row) for row in rows], "next": following}))

    async def make(self, request: Request) -> Answer:
        """Make one. The response alone has it."""
        await self.operator(request)
        no_parameters(request.scope["query_string"])
        wish = wish_of(await sent_json(request, MOST_BYTES) or b"{}")
        caller = await self.operator(request)  # again: access may have ended while the body arrived
        made = await self.actions.make(request.path_params["name"], wish, caller)
        return json_reply(201, to_json({"url": made.url, **self._json(made.row)}))

    async def revoke(self, request: Request) -> Answer:
        """Revoke one."""
        caller = await self.operator(request)
        no_parameters(request.scope["query_string"])
        row = await self.actions.revoke(request.path_params["name"], request.path_params["id"], caller)
        return json_reply(200, to_json(self._json(row)))

    def _json(self, row: SignedUrl) -> dict[str, Any]:
        return {
            "workflow": row.workflow,
            "id": row.id,
            "state": state_of(row, self.now()),
            "key": row.key,
            "path": row.path,
            "with": row.fixed,
            "expires_at": when(row.expires_at),
            "made_by": by_of(row.made_by),
            "made_at": when(row.made_at),
            "revoked_by": by_of(row.revoked_by),
            "revoked_at": when(row.revoked_at),
            "uses": row.uses,
            "used_at": when(row.used_at),
        }
