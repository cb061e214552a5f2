"""Power Automate's part: flows that start with "When an HTTP request is received", with its checks and error documents.

Reference: learn.microsoft.com/power-automate/oauth-authentication, and "Secure access and data in Azure Logic Apps",
which says that a request with both a token and a signature is an error. Observed, not documented: without a token the
response is 401 DirectApiAuthorizationRequired, and a valid token with wrong claims gets 403 MisMatchingOAuthClaims.
"""

import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postern.local_tenant import tokens
from postern.local_tenant.bearer import bearer_token
from postern.local_tenant.flow_addresses import FLOW_IDS, FLOWS_AUDIENCE, WORKFLOWS
from postern.local_tenant.tenant import LocalTenant

RETRY_AFTER = 1  # seconds
MAX_RUNS = 1000
MAX_BODY = 1024 * 1024


class _Leave(BaseModel):
    employee: str
    days: int = Field(ge=1)


class _Anything(BaseModel):
    pass


def _approve(leave: Any) -> dict[str, Any]:
    approved = leave.days <= 10
    return {"approved": approved, "by": "Lisa Moreau", "comment": "Enjoy!" if approved else "Too long."}


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow. `allowed` are the names of the callers that may start it. If it is empty, all callers of the tenant
    may. If `polls` is None, the flow responds at once. Otherwise it responds with 202, and with 202 again to so many
    polls of its Location."""

    name: str
    id: str
    schema: type[BaseModel]
    answer: Callable[[Any], Any]
    allowed: tuple[str, ...] = ()
    polls: int | None = None


FLOWS = (
    Flow("approve-leave", FLOW_IDS["approve-leave"], _Leave, _approve, allowed=("postern",), polls=1),
    Flow("holidays", FLOW_IDS["holidays"], _Anything, lambda _: {"holidays": ["01-01", "05-01", "12-25"]}),
)


class FlowError(Exception):
    """An error response of a trigger."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


@dataclass(slots=True)
class _Run:
    """A run that is polled: its signature, which authorizes the polls, and the polls left until it has a result."""

    answer: Any
    polls: int
    signature: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


@dataclass(frozen=True, slots=True)
class Flows:
    """The triggers of the flows of one tenant."""

    tenant: LocalTenant
    clock: Callable[[], float]
    runs: OrderedDict[str, _Run] = field(default_factory=OrderedDict, repr=False)

    def routes(self) -> list[Route]:
        """The trigger, and the Location of a 202."""
        return [
            Route(f"{WORKFLOWS}/{{id}}/triggers/manual/paths/invoke", self.invoke, methods=["POST"]),
            Route(f"{WORKFLOWS}/{{id}}/runs/{{run}}/operations/manual", self.poll, methods=["GET"]),
        ]

    async def invoke(self, request: Request) -> Response:
        """Start the flow: 200 with its result, or 202 with a Location to poll."""
        try:
            flow = self._flow(request)
            self._authorize(flow, request)
            answer = flow.answer(await _input(flow, request))
        except FlowError as error:
            return _response(error)
        run_id = f"0858{secrets.randbelow(10**29):029}CU00"
        if flow.polls is None:
            return JSONResponse(answer, headers=_of_run(flow, run_id))
        self.runs[run_id] = run = _Run(answer, flow.polls)
        while len(self.runs) > MAX_RUNS:
            self.runs.popitem(last=False)
        return self._accepted(flow, run_id, run)

    async def poll(self, request: Request) -> Response:
        """202 while the flow runs, then its result. The signature in the address is the only credential here."""
        try:
            flow = self._flow(request)
            run_id = request.path_params["run"]
            run = self._polled_run(run_id, request)
        except FlowError as error:
            return _response(error)
        if run.polls > 0:
            run.polls -= 1
            return self._accepted(flow, run_id, run)
        return JSONResponse(run.answer, headers=_of_run(flow, run_id))

    def _flow(self, request: Request) -> Flow:
        if request.query_params.getlist("api-version") != ["1"]:
            raise FlowError(400, "InvalidApiVersionParameter", "The api-version is missing or not supported: use 1.")
        flow = next((flow for flow in FLOWS if flow.id == request.path_params["id"].lower()), None)
        if flow is None:
            raise FlowError(404, "WorkflowNotFound", "The workflow could not be found.")
        return flow

    def _authorize(self, flow: Flow, request: Request) -> None:
        """Check the token's signature and times, then the claims that the flow's access requires."""
        token = bearer_token(request)
        if token is None:
            raise FlowError(401, "DirectApiAuthorizationRequired", "The OAuth authorization scheme is required.")
        claims = self._verified(token)
        if claims is None:
            raise FlowError(401, "InvalidAuthenticationToken", "The access token is invalid or has expired.")
        fits = (
            claims.get("aud") == FLOWS_AUDIENCE
            and claims.get("iss") in self.tenant.issuers
            and claims.get("tid") == self.tenant.tenant_id
            and (not flow.allowed or claims.get("oid") in [self.tenant.who(name).object_id for name in flow.allowed])
        )
        if not fits:
            message = "A claim is missing, or does not match the open authentication access control policy."
            raise FlowError(403, "MisMatchingOAuthClaims", message)

    def _verified(self, token: str) -> dict[str, Any] | None:
        """The claims of a token signed by one of the published keys, for any audience; None for any other token."""
        return tokens.verify_for_any(token, self.tenant.signing_keys, now=self.clock())

    def _polled_run(self, run_id: str, request: Request) -> _Run:
        if "authorization" in request.headers:
            message = "The request must be authenticated only by Shared Access scheme."
            raise FlowError(401, "DirectApiAuthorizationRequired", message)
        run = self.runs.get(run_id)
        given = request.query_params.get("sig", "")
        if run is None or not hmac.compare_digest(run.signature.encode(), given.encode()):
            raise FlowError(401, "DirectApiInvalidAuthorization", "The signature of the address is not valid.")
        return run

    def _accepted(self, flow: Flow, run_id: str, run: _Run) -> Response:
        path = f"/runs/{run_id}/operations/manual"
        signed = urlencode({"api-version": "1", "sp": f"{path}/read", "sv": "1.0", "sig": run.signature})
        location = f"{self.tenant.authority}{WORKFLOWS}/{flow.id}{path}?{signed}"
        headers = {"Location": location, "Retry-After": str(RETRY_AFTER)}
        return Response(status_code=202, headers=headers | _of_run(flow, run_id))


def _of_run(flow: Flow, run_id: str) -> dict[str, str]:
    return {"x-ms-workflow-id": flow.id, "x-ms-workflow-run-id": run_id, "Cache-Control": "no-store"}


async def _input(flow: Flow, request: Request) -> BaseModel:
    """The validated body."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise FlowError(413, "RequestEntityTooLarge", "The body is too large.")
    try:
        return flow.schema.model_validate(json.loads(body or b"{}"))
    except (ValidationError, ValueError, RecursionError):
        message = "The input body for trigger 'manual' of type 'Request' did not match its schema definition."
        raise FlowError(400, "TriggerInputSchemaMismatch", message) from None


def _response(error: FlowError) -> Response:
    document = {"error": {"code": error.code, "message": error.message}}
    headers = {"Cache-Control": "no-store"}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(document, error.status, headers=headers)
