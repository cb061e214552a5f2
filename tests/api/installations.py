"""The run API that its tests ask, with a client and a journal of four runs and a refusal."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import structlog
from httpx2 import ASGITransport
from sqlalchemy import Connection, Engine, insert, select, update
from starlette.applications import Starlette

from postern.access import Caller, StartedBy
from postern.api import routes as api
from postern.api.approval_actions import ApprovalActions
from postern.api.durable_defaults import as_it_is
from postern.api.run_audit import RunAudit
from postern.api.signal_actions import SendSignal, SignalActions
from postern.assembly import create_identity, installation_of, load_catalog, tenants
from postern.assembly.asgi import nothing_here
from postern.assembly.catalog import binding
from postern.authoring.request import Request
from postern.errors import problem
from postern.http_client import AsyncClient, Response, http_client
from postern.identity import fetch_keys
from postern.journal.database.engine import open_engine
from postern.journal.reading.records import RunRecord
from postern.journal.run import Run, actor
from postern.journal.schema import refusals, runs
from postern.journal.shares import Holder
from postern.journal.signals import Arrival, Sent, send
from postern.local_tenant import LocalTenant
from postern.runs.idempotency import Key
from postern.security.audit.log import AuditLog
from postern.security.revocation.revocations import Revocations
from postern.security.revocation.revoking import Revoking
from postern.triggers.secure_transport import Identification
from tests.api.records import ADA, LISA
from tests.databases import put_sqlite
from tests.journal.recorded import NOON, id_number, put, run_row
from tests.pipeline.pipelines import settings_for

WORKFLOWS = '''
from postern import Context, anonymous, specific_users, tenant_users, workflow

@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    """Say hello.

    At length.
    """
    return "hello"

@workflow(access=tenant_users(audiences=["api://other"]), path="/{month}", methods=["GET", "POST"], timeout=5)
async def other(ctx: Context, month: str) -> str:
    return "other"

@workflow(access=specific_users("lisa"), secure_outputs=True)
async def payroll(ctx: Context) -> str:
    return "paid"
'''
ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, RUNNING = (id_number(number) for number in (1, 2, 3, 4))
UNKNOWN = id_number(99)
MOST_BODY = 4000
"""Bytes of a body."""
T = TypeVar("T")


@dataclass
class RunApi:
    """The API with a client, and the calls that the runner got."""

    client: AsyncClient
    engine: Engine
    local: LocalTenant
    cancels_here: bool = False
    go_on: asyncio.Event | None = None
    """If it is set, resubmitted runs end after it."""
    resubmitted: list[tuple[str, Caller]] = field(default_factory=list)
    came: list[str] = field(default_factory=list)
    """Runs for which something has come."""
    audit: AuditLog = field(default_factory=AuditLog)

    def token(self, who: str) -> str:
        """A token by what is special about it, or of a person of the local tenant."""
        token = self.local.token
        makers: dict[str, Callable[[], str]] = {
            "operator": lambda: token("nightly-report", roles=["Postern.Operator"]),
            "listed operator": lambda: token("gil"),
            "expired": lambda: token("ada", expired=True),
            "ada elsewhere": lambda: token("ada", wrong_audience=True),
            "ada at other": lambda: token("ada", audience="api://other"),
            "operator at other": lambda: token("ada", audience="api://other", roles=["Postern.Operator"]),
            "garbage": lambda: "garbage",
        }
        return makers[who]() if who in makers else token(who)

    async def ask(self, method: str, path: str, who: str = "", body: Any = None) -> Response:
        headers = {"Authorization": f"Bearer {self.token(who)}"} if who else {}
        return await self.client.request(method, path, headers=headers, json=body)

    async def resubmit_async(self, run_id: str, who: str = "") -> Response:
        headers = {"Prefer": "respond-async"} | ({"Authorization": f"Bearer {self.token(who)}"} if who else {})
        return await self.client.post(f"/runs/{run_id}/resubmit", headers=headers)

    async def get(self, path: str, who: str = "") -> Response:
        return await self.ask("GET", path, who)

    async def post(self, path: str, who: str = "") -> Response:
        return await self.ask("POST", path, who)

    def change(self, run_id: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run_id).values(**values))

    def rows(self) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(runs).order_by(runs.c.id))]


def clock() -> float:
    """The server's clock."""
    return NOON + 60


def keeping(write: Callable[[Callable[[Connection], Any]], Awaitable[Any]]) -> SendSignal:
    """What keeps signals, in place of the durable engine."""

    async def keep(signal: Sent) -> tuple[Arrival, float]:
        arrival, at = Arrival.EARLY, signal.sent_at
        while arrival is Arrival.EARLY:
            arrival, at = await write(partial(send, sent=replace(signal, sent_at=at)))
        return arrival, at

    return keep


@asynccontextmanager
async def open_run_api(tmp_path: Path, local_tenant: LocalTenant, workflows: str = WORKFLOWS) -> AsyncIterator[RunApi]:
    """The API on a journal in this folder: real tokens, a real database, a catalog of real workflows."""
    (tmp_path / "examples.py").write_text(workflows, encoding="utf-8")
    (tmp_path / "faulty.py").write_text("1 / 0\n", encoding="utf-8")
    settings = settings_for(local_tenant, tmp_path, operators=[local_tenant.directory.people["gil"].object_id])
    engine = open_engine(put_sqlite(tmp_path / "runs.db"), writing=True)
    ours = {"caller_kind": "user", "tenant_id": local_tenant.tenant_id}
    with engine.begin() as connection:
        put(
            connection,
            run_row(1, state="Failed", status=500, error_type="ValueError", error_message="why"),
            run_row(2, **ours, object_id=ADA, caller_name="Ada", state="Failed", error_type="E", error_message="why"),
            run_row(3, **ours, object_id=LISA, workflow="payroll", outputs=None, outputs_form="secured"),
            run_row(4, **ours, object_id=ADA, state="Running", status=None, ended_at=None, outputs=None),
        )
        refusal = {
            "id": id_number(1),
            "reason": "expiry",
            "code": "unauthenticated",
            "status": 401,
            "workflow": "payroll",
            "client_address": "192.0.2.7",
            "first_at": NOON,
            "last_at": NOON + 1,
            "count": 2,
            "request_ids": f"{id_number(1)} {id_number(2)}",
            "claimed": json.dumps({"object_id": ADA, "verified": True}),
            "checks": json.dumps([{"name": "expiry", "passed": False, "expected": "later", "found": "earlier"}]),
        }
        connection.execute(insert(refusals), refusal)

    async def run_on(query: Callable[[Connection], T]) -> T:
        def run() -> T:
            with engine.begin() as connection:
                return query(connection)

        return await anyio.to_thread.run_sync(run)

    async def read(query: Callable[[Connection], T], caller: Holder) -> T:
        """Each read of the API is some caller's, so that it takes that caller's share of the readers."""
        assert caller[1]
        return await run_on(query)

    async def cancel(run_id: str, by: str) -> bool:
        if found.cancels_here:
            found.change(run_id, state="Cancelled", status=409, ended_at=NOON + 5, cancelled_by=by)
        return found.cancels_here

    async def resubmit(
        record: RunRecord, caller: Caller, run_id: str, by: Caller, started_by: StartedBy, key: Key | None
    ) -> Run:
        found.resubmitted.append((record.id, caller))
        if record.inputs == '"does not fit"':
            raise problem("invalid-body", errors=[])
        row = run_row(len(found.resubmitted) + 50, resubmitted_from=record.id, resubmitted_by=actor(by)) | {
            "id": run_id
        }
        await run_on(lambda connection: put(connection, row))
        if found.go_on is not None:
            await found.go_on.wait()
        return Run(run_id, catalog.snapshot.triggers["hello"].workflow, caller, Request("POST", "/"), NOON)

    came: list[str] = []
    log = structlog.get_logger("test")
    catalog = load_catalog(settings)
    revocations = Revocations(clock=lambda: 0.0)
    revocations.apply([], 0.0)

    async def read_freely(query: Callable[[Connection], T], seconds: float = 0.0) -> T:
        return await run_on(query)

    async with http_client(settings.ca_bundle) as keys:
        identity = create_identity(settings, lambda of: partial(fetch_keys, keys, of), revocations)
        revocations.on_revoked(identity.forget)
        audit = AuditLog()
        note = audit.note
        own = (local_tenant.tenant_id, settings.client_id or "")
        operators = frozenset(settings.operators)
        revoking = Revoking(revocations, read_freely, run_on, note, *own, operators, lambda: settings.people)
        identity.serve(tenants(settings, catalog.snapshot))
        routes = api.routes(
            read=read,
            write=run_on,
            identify=Identification(identity.recall, identity.identify).identify,
            cancel=cancel,
            resubmit=resubmit,
            snapshot=lambda: catalog.snapshot,
            installation=installation_of(settings),
            refused=lambda _: True,
            log=log,
            revoking=revoking,
            now=clock,
            signals=SignalActions(keeping(run_on), MOST_BODY, log, clock, RunAudit(note)),
            approvals=ApprovalActions(
                read,
                run_on,
                binding(settings, lambda: settings.people),
                as_it_is,
                came.append,
                log,
                clock,
                RunAudit(note),
            ),
        )
        app = Starlette(routes=routes, exception_handlers={404: nothing_here, 405: nothing_here})
        app.router.redirect_slashes = False
        async with http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client:
            found = RunApi(client, engine, local_tenant, came=came, audit=audit)
            yield found
    engine.dispose()
