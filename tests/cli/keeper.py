"""A small server that keeps records and answers as Postern's API does, for the commands that use it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postern.access import GUID
from postern.errors import problem
from postern.ids import new_id
from postern.local_tenant import LocalTenant
from tests.process.servers import until

Record = dict[str, Any]
ENDED = {"Succeeded", "Failed", "Cancelled", "TimedOut", "Interrupted"}


def run_record(**members: Any) -> Record:
    """A whole record of a run."""
    return {
        "id": new_id(),
        "workflow": "payroll",
        "state": "Succeeded",
        "status": 200,
        "caller": {
            "kind": "user",
            "object_id": "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2",
            "client_id": None,
            "name": "Lisa",
        },
        "client_address": "127.0.0.1",
        "started_at": "2026-01-31T10:00:00.123Z",
        "ended_at": "2026-01-31T10:00:00.456Z",
        "duration_ms": 333.0,
        "inputs": {"month": 7},
        "outputs": {"paid": 12},
        "error": None,
        "parent_run_id": None,
        "resubmitted_from": None,
        "resubmitted_by": None,
        "cancelled_by": None,
        "trace_id": "0" * 32,
        "steps": [],
        "calls": [],
        **members,
    }


def refusal_record(**members: Any) -> Record:
    """A record of rejected requests."""
    request_id = new_id()
    return {
        "id": request_id,
        "reason": "listed",
        "code": "unauthenticated",
        "status": 401,
        "workflow": "payroll",
        "client_address": "192.0.2.7",
        "first_at": "2026-01-31T10:00:00.000Z",
        "last_at": "2026-01-31T11:00:00.000Z",
        "count": 3,
        "claimed": {
            "object_id": "ed1bf663-4183-4555-b113-3ed7e5cc901b",
            "client_id": None,
            "tenant_id": None,
            "name": "Ada Okafor",
            "verified": True,
        },
        "checks": [
            {"name": "signature", "passed": True, "expected": "valid", "found": "valid"},
            {"name": "listed", "passed": False, "expected": ["c33a", "b887"], "found": "ed1b"},
        ],
        "request_ids": [request_id, new_id()],
        **members,
    }


def finding_record(**members: Any) -> Record:
    """A record of a finding."""
    return {
        "id": new_id(),
        "kind": "new-network",
        "title": "A new network",
        "state": "new",
        "subject": "t/ed1bf663-4183-4555-b113-3ed7e5cc901b",
        "caller": {
            "kind": "user",
            "object_id": "ed1bf663-4183-4555-b113-3ed7e5cc901b",
            "tenant_id": "t",
            "client_id": "c1",
            "name": "Ada Okafor",
        },
        "token_id": "uti-1",
        "client_address": "192.0.2.7",
        "workflow": "payroll",
        "first_at": "2026-01-31T10:00:00.000Z",
        "last_at": "2026-01-31T11:00:00.000Z",
        "count": 3,
        "evidence": {"runs": ["run-1"], "networks": ["192.0.2.0/24"], "refused": []},
        "state_by": None,
        "state_at": None,
        "alerted_at": None,
        **members,
    }


def approval(**members: Any) -> Record:
    """An approval as the API lists it."""
    return {
        "run_id": new_id(),
        "name": "manager",
        "workflow": "orders",
        "data": {"amount": 7},
        "data_missing": False,
        "since": "2026-01-31T10:00:00.000Z",
        "until": None,
        "begun_elsewhere": False,
        **members,
    }


def revocation(**members: Any) -> Record:
    """A revocation as the API shows it."""
    return {
        "id": new_id(),
        "kind": "caller",
        "subject": "ed1bf663-4183-4555-b113-3ed7e5cc901b",
        "name": None,
        "reason": "stolen laptop",
        "in_effect": True,
        "not_before": "2026-01-31T10:00:00.000Z",
        "bars_until": None,
        "accepted_again_at": "2026-01-31T10:05:00.000Z",
        "made_by": {"kind": "user", "object_id": "x", "client_id": None, "name": "Ada Okafor"},
        "made_at": "2026-01-31T10:00:00.000Z",
        "lifted_by": None,
        "lifted_at": None,
        "runs_in_progress": [],
        "more_runs": False,
        "shared_connections": [],
        "signed_urls": [],
        "more_signed_urls": False,
        **members,
    }


def signed_url(**members: Any) -> Record:
    """A signed URL in a list."""
    return {
        "workflow": "orders",
        "id": "partner-x",
        "state": "active",
        "key": "primary",
        "path": None,
        "with": ["customer"],
        "expires_at": "2026-12-29T10:00:00.000Z",
        "made_by": {"kind": "user", "object_id": "ed1b", "client_id": None, "name": "Ada"},
        "made_at": "2026-11-29T10:00:00.000Z",
        "revoked_by": None,
        "revoked_at": None,
        "uses": 7,
        "used_at": None,
        **members,
    }


class Keeper:
    """The records, newest first, and the requests received. `most` limits a page; `answer` replaces every response."""

    def __init__(self, tenant: LocalTenant) -> None:
        self.tenant = tenant
        self.port = 0
        self.forget()

    def forget(self) -> None:
        """Be as new."""
        self.runs: list[Record] = []
        self.logs: list[Record] = []
        self.refusals: list[Record] = []
        self.findings: list[Record] = []
        self.events: list[Record] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.most = 200
        self.answer: Response | None = None
        self.goes_on = False
        self.preferences: list[str] = []
        self.keys: list[str] = []
        self.next_answers: list[Response] = []
        self.bodies: list[Any] = []
        self.revocations: list[Record] = []
        self.approvals: list[Record] = []

    @property
    def environ(self) -> dict[str, str]:
        """The settings by which commands find it."""
        return {"POSTERN_PORT": str(self.port)}

    def app(self) -> Starlette:
        """Its pages."""
        return Starlette(
            routes=[
                Route("/runs", self._page(self._runs)),
                Route("/runs/{id}", self._page(self._run)),
                Route("/runs/{id}/tree", self._page(self._run)),
                Route("/runs/{id}/logs", self._page(self._logs)),
                Route("/runs/{id}/cancel", self._page(self._cancel), methods=["POST"]),
                Route("/runs/{id}/resubmit", self._page(self._resubmit), methods=["POST"]),
                Route("/runs/{id}/resume", self._page(self._resume), methods=["POST"]),
                Route("/runs/{id}/signals/{name}", self._sent, methods=["POST"]),
                Route("/runs/{id}/approvals/{name}", self._sent, methods=["POST"]),
                Route("/approvals", self._page(self._approvals)),
                Route("/refusals", self._page(self._refusals)),
                Route("/findings", self._page(self._findings)),
                Route("/findings/{id}", self._page(self._finding)),
                Route("/findings/{id}/acknowledge", self._page(self._acknowledge), methods=["POST"]),
                Route("/audit", self._page(self._events)),
                Route("/connections/{name}", self._page(self._end), methods=["DELETE"]),
                Route("/revocations", self._page(self._revocations)),
                Route("/revocations", self._revoked, methods=["POST"]),
                Route("/revocations/{id}", self._page(self._lift), methods=["DELETE"]),
                Route("/gateways", self._page(self._nothing)),
                Route("/connections/{name}/test", self._page(self._nothing), methods=["POST"]),
                Route("/connections/{name}/links", self._linked, methods=["POST"]),
                Route("/workflows/{name}/signed-urls", self._signed_urls, methods=["GET", "POST"]),
                Route("/workflows/{name}/signed-urls/{id}", self._page(self._revoke_link), methods=["DELETE"]),
            ]
        )

    def _nothing(self, request: Request, query: Record, who: str, operator: bool) -> Response:
        """What a test sets in `answer` is sent in its place."""
        return JSONResponse({}) if operator else _problem("forbidden")

    def _logs(self, request: Request, query: Record, who: str, operator: bool) -> Response:
        """The next of the logs, or the last one."""
        if not operator:
            return _problem("forbidden")
        return JSONResponse(self.logs.pop(0) if len(self.logs) > 1 else self.logs[0])

    def _page(self, page: Any) -> Any:
        async def answered(request: Request) -> Response:
            query = dict(request.query_params)
            self.requests.append((f"{request.method} {request.url.path}", query))
            if self.answer is not None:
                return self.answer
            claims = self._claims(request)
            if claims is None:
                return _problem("unauthenticated")
            operator = claims["oid"] == self.tenant.people["ada"]
            found: Response = page(request, query, claims["oid"], operator)
            return found

        return answered

    def _claims(self, request: Request) -> Record | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tenant.verify(token, self.tenant.client_id, time.time())

    async def _linked(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        return await self._page(self._link)(request)  # type: ignore[no-any-return]

    async def _revoked(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        return await self._page(self._revoke)(request)  # type: ignore[no-any-return]

    async def _sent(self, request: Request) -> Response:
        self.bodies.append((await request.body(), request.headers.get("idempotency-key")))
        return await self._page(self._take)(request)  # type: ignore[no-any-return]

    def _take(self, request: Request, _: dict[str, str], caller: str, operator: bool) -> Response:
        if "signals" in request.url.path:
            return JSONResponse({"name": request.path_params["name"], "sent_at": "2026-01-31T12:00:00.000Z"}, 202)
        state = "approved" if b"true" in self.bodies[-1][0] else "rejected"
        return JSONResponse({"state": state, "decided_at": "2026-01-31T12:00:00.000Z"})

    def _approvals(self, _: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        return self._part("approvals", self.approvals, query)

    def _revoke(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if not operator:
            return _problem("forbidden")
        body = self.bodies[-1]
        if body["subject"] == caller and not body.get("confirm"):
            return _problem("confirmation-required")
        made = revocation(kind=body.get("kind", "client"), subject=body["subject"], reason=body.get("reason"))
        return JSONResponse(made, 201)

    def _revocations(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        return self._part("revocations", self.revocations, query)

    def _lift(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        found = [each for each in self.revocations if each["id"] == request.path_params["id"]]
        return JSONResponse(found[0]) if found else _problem("unknown-revocation")

    def _link(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if not operator:
            return _problem("forbidden")
        url = f"http://127.0.0.1/connect/{request.path_params['name']}/invitation/the-secret"
        return JSONResponse({"url": url, "expires_at": "2026-01-31T14:00:00Z"}, 201)

    async def _signed_urls(self, request: Request) -> Response:
        if request.method == "POST":
            self.bodies.append(await request.json())
        return await self._page(self._make_or_list)(request)  # type: ignore[no-any-return]

    def _make_or_list(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if not operator:
            return _problem("forbidden")
        if request.method == "GET":
            rows = [signed_url(id=str(number)) for number in range(3)]
            start = int(query.get("cursor", "0"))
            return JSONResponse({"signed_urls": rows[start : start + 2], "next": None if start else "2"})
        url = "http://127.0.0.1/triggers/orders?sp=x&sv=1.0&se=never&id=x&sig=the-signature"
        return JSONResponse({"url": url, **signed_url()}, 201)

    def _revoke_link(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        return JSONResponse(signed_url(id=request.path_params["id"], state="revoked"))

    def _end(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if not operator and query:
            return _problem("unknown-connection")
        said = "Entra cannot end it." if query else None
        return JSONResponse({"name": request.path_params["name"], "ended_at_provider": not said, "message": said})

    def _runs(self, _: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if query.get("since", "") > query.get("until", "9"):
            return _problem("bad-filter", errors=[{"where": "since", "message": "is later than until"}])
        found = [
            {name: value for name, value in run.items() if name not in ("inputs", "outputs", "steps")}
            for run in self.runs
            if (operator or run["caller"]["object_id"] == caller)
            and query.get("workflow", run["workflow"]) == run["workflow"]
            and query.get("state", run["state"]) == run["state"]
            and query.get("caller", run["caller"]["object_id"]) == run["caller"]["object_id"]
            and query.get("parent", run["parent_run_id"]) == run["parent_run_id"]
            and query.get("since", "") <= run["started_at"] <= query.get("until", "9")
            and query.get("text", "") in str(run)
        ]
        if "check" in query:
            again = {run["resubmitted_from"]: [run["id"]] for run in self.runs if run["resubmitted_from"]}
            why = {run["id"]: run.get("why") for run in self.runs}
            member = f"cannot_{query['check']}"
            found = [{**run, member: why[run["id"]], "resubmitted_as": again.get(run["id"], [])} for run in found]
        return self._part("runs", found, query)

    def _refusals(self, _: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if not operator:
            return _problem("forbidden")
        found = [
            refusal
            for refusal in self.refusals
            if query.get("request_id", refusal["id"]) in refusal["request_ids"]
            and query.get("workflow", refusal["workflow"]) == refusal["workflow"]
            and query.get("reason", refusal["reason"]) == refusal["reason"]
            and query.get("address", refusal["client_address"]) == refusal["client_address"]
        ]
        return self._part("refusals", found, query)

    def _findings(self, _: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        return self._part("findings", self.findings, query) if operator else _problem("forbidden")

    def _finding(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        found = next((each for each in self.findings if each["id"] == request.path_params["id"]), None)
        return _problem("unknown-finding") if found is None else JSONResponse(found)

    def _acknowledge(self, request: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        for each in self.findings:
            each |= {"state": "acknowledged", "state_by": {"name": "Ada"}, "state_at": "2026-01-31T12:00:00.000Z"}
        return self._finding(request, query, caller, operator)

    def _events(self, _: Request, query: dict[str, str], caller: str, operator: bool) -> Response:
        if not operator:
            return _problem("forbidden")
        return self._part(
            "events", [each for each in self.events if query.get("kind", each["kind"]) == each["kind"]], query
        )

    def _part(self, name: str, found: list[Record], query: dict[str, str]) -> Response:
        start = int(query.get("cursor", "0"))
        end = start + min(int(query["limit"]), self.most)
        return JSONResponse({name: found[start:end], "next": str(end) if end < len(found) else None})

    def _find(self, request: Request, caller: str, operator: bool) -> Record | None:
        assert GUID.fullmatch(request.path_params["id"])
        found = next((run for run in self.runs if run["id"] == request.path_params["id"]), None)
        return found if found and (operator or found["caller"]["object_id"] == caller) else None

    def _run(self, request: Request, _: dict[str, str], caller: str, operator: bool) -> Response:
        found = self._find(request, caller, operator)
        return JSONResponse(found) if found else _problem("unknown-run")

    def _cancel(self, request: Request, _: dict[str, str], caller: str, operator: bool) -> Response:
        found = self._find(request, caller, operator)
        if found is None:
            return _problem("unknown-run")
        if found["state"] in ENDED:
            return _problem("run-ended")
        if found["state"] == "Running":
            return JSONResponse(found, 202)
        found |= {"state": "Cancelled", "status": 409}
        return JSONResponse(found)

    def _resubmit(self, request: Request, _: dict[str, str], caller: str, operator: bool) -> Response:
        found = self._find(request, caller, operator)
        if found is None:
            return _problem("unknown-run")
        if found.get("inputs_note"):
            return _problem("cannot-resubmit")
        if self.next_answers:
            return self.next_answers.pop(0)
        new = {**found, "id": new_id(), "resubmitted_from": found["id"]}
        self.preferences += request.headers.getlist("prefer")
        self.keys += request.headers.getlist("idempotency-key")
        if self.goes_on:
            new |= {"state": "Running", "status": None}
        self.runs.insert(0, new)
        return JSONResponse(new, 201, headers={"Location": f"/runs/{new['id']}"})

    def _resume(self, request: Request, _: dict[str, str], caller: str, operator: bool) -> Response:
        found = self._find(request, caller, operator)
        if found is None:
            return _problem("unknown-run")
        if self.next_answers:
            return self.next_answers.pop(0)
        found |= {"state": "Waiting", "status": None}
        return JSONResponse(found, 202)


@contextmanager
def keeping(keeper: Keeper) -> Iterator[Keeper]:
    """The keeper while it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(keeper.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        keeper.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            yield keeper
        finally:
            server.should_exit = True
            thread.join(10)


def _problem(code: str, **members: Any) -> Response:
    made = problem(code, **members)
    return JSONResponse(made.document(new_id()), made.status, media_type="application/problem+json")
