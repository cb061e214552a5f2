"""The pages for operators, served with a real journal, a real catalog and real tokens, without the guard."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.lowlevel
import anyio.to_thread
import structlog
from httpx2 import ASGITransport
from sqlalchemy import Connection, Engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postern.access import Caller, Guarded, NoRevocations, Refused, checks
from postern.assembly import create_identity, installation_of, load_catalog, tenants
from postern.assembly.refusals import examiner
from postern.catalog import Catalog
from postern.console.audit import Audit
from postern.console.connections import Connections
from postern.console.explain import Explain
from postern.console.gateways import Gateways
from postern.console.navigation import NAVIGATION
from postern.console.page import PageRoute, SeeOther, Shown, Viewer, Visit
from postern.console.refusals import Refusals
from postern.console.render import render
from postern.console.revocations import Revocations
from postern.console.secrets import Secrets
from postern.console.services import Services, Stages
from postern.console.workflows import Workflows
from postern.errors import Problem
from postern.http_client import AsyncClient, http_client
from postern.http_client import Response as Got
from postern.identity import Identity, fetch_keys
from postern.identity.explained import explained
from postern.ids import new_id
from postern.journal import refusals as recording
from postern.journal.database.engine import open_engine
from postern.journal.refusal import Refusal
from postern.journal.sessions import Session
from postern.journal.shares import Holder
from postern.local_tenant import LocalTenant
from postern.security.audit.log import not_noted
from postern.security.revocation.revocations import Revocations as Current
from postern.security.revocation.revoking import Revoking
from tests.databases import put_sqlite
from tests.pipeline.pipelines import settings_for

T = TypeVar("T")

WORKFLOWS = '''
from pydantic import BaseModel
from postern import Context, anonymous, specific_users, tenant_users, workflow

class Order(BaseModel):
    number: int
    note: str = ""

@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    """Say <script>alert(1)</script> hello."""
    return "hello"

@workflow(access=specific_users("lisa"), connections=("erp", "gone"), secrets=("pay-key",))
async def payroll(ctx: Context, order: Order) -> Order:
    return order

@workflow(access=tenant_users(scopes=["Orders.Read"], roles=["Clerk"], apps=False, guests=False))
async def orders(ctx: Context) -> str:
    return str(ctx.connection("erp")) + await ctx.secret("order-key")
'''


@dataclass
class Pages:
    """The pages with a client. `services` may be replaced before a request."""

    client: AsyncClient
    engine: Engine
    services: Services
    identity: Identity
    catalog: Catalog
    stages: Stages | None = None
    family: Connections | None = None
    """The pages of connections, if they are to be the same at each request."""
    seen: list[str] = field(default_factory=list)
    """The text of every page that was sent."""

    async def get(self, path: str) -> Got:
        return self._noted(await self.client.get(path))

    async def post(self, path: str, **fields: str) -> Got:
        return self._noted(await self.client.post(path, data=fields))

    def change(self, **values: Any) -> None:
        """Replace services."""
        self.services = replace(self.services, **values)

    async def refuse(self, workflow: str, token: str | None, *, times: int = 1, address: str = "192.0.2.7") -> str:
        """Reject a request as the pipeline does, and record it. Returns its request id."""
        log = structlog.get_logger("test")
        taking = recording.Refusals(partial(_on, self.engine), examiner(self.identity), log)
        headers = [(b"authorization", f"Bearer {token}".encode())] if token is not None else []
        policy = self.catalog.snapshot.triggers[workflow].policy
        assert isinstance(policy, Guarded)
        rejection = await self._rejection(policy, headers)
        first = new_id()
        for number in range(times):
            request_id = first if not number else new_id()
            taking.take(
                Refusal(
                    request_id,
                    rejection.failed.name,
                    "unauthenticated",
                    401,
                    workflow,
                    address,
                    rejection.checks,
                    rejection.proved,
                    policy,
                    headers,
                )
            )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(taking._examine_all)
            while not all(window.examined for window in taking._windows):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await taking.flush()
        return first

    async def _rejection(self, policy: Guarded, headers: list[tuple[bytes, bytes]]) -> Refused:
        try:
            caller = await self.identity.identify(headers)
        except Refused as refused:
            return refused
        made = checks(policy, caller)
        number = next(place for place, check in enumerate(made, 1) if not check.passed)
        return Refused(made[:number], proved=True)

    def _noted(self, got: Got) -> Got:
        self.seen.append(got.text)
        return got


async def _on(engine: Engine, query: Callable[[Connection], T]) -> T:
    def run() -> T:
        with engine.begin() as connection:
            return query(connection)

    return await anyio.to_thread.run_sync(run)


@asynccontextmanager
async def open_pages(tmp_path: Path, local: LocalTenant, **more: Any) -> AsyncIterator[Pages]:
    """The pages on a journal and a catalog in this folder. `more` are further settings."""
    (tmp_path / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    (tmp_path / "faulty.py").write_text('raise ValueError("<img src=x onerror=alert(1)>")\n', encoding="utf-8")
    settings = settings_for(local, tmp_path, **more)
    engine = open_engine(put_sqlite(tmp_path / "runs.db"), writing=True)
    catalog = load_catalog(settings)

    async def read(query: Callable[[Connection], T], caller: Holder, /) -> T:
        assert caller[1]
        return await _on(engine, query)

    async with http_client(settings.ca_bundle) as keys:
        identity = create_identity(settings, lambda of: partial(fetch_keys, keys, of), NoRevocations())
        identity.serve(tenants(settings, catalog.snapshot))
        services = Services(
            settings=settings,
            installation=installation_of(settings, "https://postern.example"),
            read=read,
            write=partial(_on, engine),
            cancel=_never,
            resubmit=_never,
            underway=lambda _: None,
            snapshot=lambda: catalog.snapshot,
            log=structlog.get_logger("test"),
            explain=partial(explained, identity),
            revoking=revoking_on(engine, local.tenant_id, settings.people),
        )
        app = Starlette(routes=[Route(path, _Late(path), methods=["GET", "POST"]) for path in PATHS])
        async with http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client:
            found = Pages(client, engine, services, identity, catalog)
            app.state.pages = found
            yield found
    engine.dispose()


def revoking_on(engine: Engine, tenant_id: str, people: Mapping[str, str]) -> Revoking:
    """What ends access, on this database."""
    revocations = Current(clock=lambda: 0.0)
    revocations.apply([], 0.0)

    async def read(query: Callable[[Connection], T], seconds: float = 0.0) -> T:
        return await _on(engine, query)

    own = (tenant_id, "", frozenset({"ada-id"}))
    return Revoking(revocations, read, partial(_on, engine), not_noted, *own, lambda: people)


async def _never(*_: object) -> Any:
    raise AssertionError("no page of these does that")


PATHS = (
    "/console/refusals",
    "/console/refusals/{id}",
    "/console/workflows",
    "/console/workflows/{name}",
    "/console/connections",
    "/console/connections/{entry}/test",
    "/console/gateways",
    "/console/secrets",
    "/console/secrets/read",
    "/console/explain",
    "/console/audit",
    "/console/revocations",
    "/console/revocations/{id}/lift",
)


def routes_of(pages: Pages) -> tuple[PageRoute, ...]:
    """All of them, with the services of now."""
    services = pages.services
    first = (Refusals(services), Workflows(services), Secrets(services), Explain(services))
    families = (*first, Audit(services), Revocations(services), Gateways(services))
    return tuple(
        route for family in (*families, pages.family or Connections(services, pages.stages)) for route in family.routes
    )


class _Late:
    """The endpoint of a path: it looks for its page at each request."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        pages: Pages = scope["app"].state.pages
        route = next(each for each in routes_of(pages) if (each.method, each.path) == (request.method, self._path))
        assert route.operators_only or self._path == "/console/connections"
        await (await _answer(route, request))(scope, receive, send)


async def _answer(route: PageRoute, request: Request) -> Response:
    try:
        shown = await route.page(Visit(request, viewer(), "the-request-id"))
    except Problem as problem:
        return JSONResponse({"title": problem.title, "detail": problem.detail}, problem.status)
    if isinstance(shown, SeeOther):
        return Response(status_code=303, headers={"Location": shown.path})
    assert isinstance(shown, Shown), "no page of these is a file"
    return Response(render(shown.template, {**shown.values, **frame(shown.here)}), shown.status)


def viewer() -> Viewer:
    """Ada, an operator."""
    session = Session("0" * 64, "tenant", "ada-id", "Ada", frozenset(), "", 0.0, 0.0)
    return Viewer(session, Caller("user", object_id="ada-id", tenant_id="tenant"), operator=True)


def frame(here: str) -> Mapping[str, Any]:
    """What the guard gives to every page."""
    return {
        "prefix": "",
        "console": "/console",
        "connect": "/connect",
        "assets": "/console/assets/1/",
        "viewer": viewer(),
        "here": here,
        "node": "node-1",
        "navigation": NAVIGATION,
        "request_id": "the-request-id",
    }
