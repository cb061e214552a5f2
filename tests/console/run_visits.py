"""The pages of runs on a real journal's database, asked by people, without the guard around them."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import anyio.to_thread
import structlog
from sqlalchemy import Connection, Engine, insert, update
from starlette.requests import Request
from starlette.routing import compile_path

from postern.access import Caller, Refused, StartedBy
from postern.api.access import is_operator
from postern.api.approval_actions import ApprovalActions
from postern.api.durable_actions import DurableActions
from postern.api.durable_defaults import as_it_is
from postern.api.resubmit import resubmitter
from postern.api.signal_actions import SignalActions
from postern.assembly import installation_of, load_catalog
from postern.assembly.catalog import binding
from postern.authoring.request import Request as WorkflowRequest
from postern.browser_secrets import hash_of
from postern.console.approvals import Approvals
from postern.console.navigation import NAVIGATION
from postern.console.page import PageRoute, Shown, Viewer, Visit
from postern.console.render import render
from postern.console.run_routes import run_routes
from postern.console.services import Services
from postern.errors import Problem
from postern.ids import new_id
from postern.journal.database.engine import open_engine
from postern.journal.reading.records import RunRecord
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import runs
from postern.journal.sessions import Session
from postern.journal.shares import Holder
from postern.journal.writing.rows import COLUMNS, facts
from postern.journal.writing.rows import run_row as written
from postern.runs.runner import Read as ReadArguments
from postern.settings import load_settings
from postern.triggers.large_bodies import LargeBodies
from tests.api.installations import keeping
from tests.api.records import ADA, LISA
from tests.journal.recorded import NOON, TENANT

OPERATOR = "0d5a1a2e-9f3c-4b55-8a53-6a4f2a9b7a01"
CLIENT = "6f1f7c1d-3f6c-4a7a-9a53-0d6f6a1c2b3d"
PEOPLE = {"operator": OPERATOR, "ada": ADA, "lisa": LISA}
ADDRESS = "192.0.2.9"
T = TypeVar("T")

WORKFLOWS = """
from typing import Any

from postern import Context, anonymous, specific_users, tenant_users, workflow
from pydantic import BaseModel


class Booking(BaseModel):
    room: str
    seats: int


@workflow(access=anonymous())
async def hello(ctx: Context, body: Any = None) -> str:
    return "hello"


@workflow(access=tenant_users())
async def book(ctx: Context, body: Booking) -> str:
    return body.room


@workflow(access=tenant_users(scopes=["user_impersonation"]))
async def scoped(ctx: Context) -> str:
    return "scoped"


@workflow(access=tenant_users(guests=False))
async def members(ctx: Context) -> str:
    return "members"


@workflow(access=specific_users("lisa"))
async def payroll(ctx: Context) -> str:
    return "paid"
"""


@dataclass(frozen=True)
class Seen:
    """What a browser got: the status, the page or the code of the problem, and where it is sent on."""

    status: int
    page: str
    to: str = ""

    @property
    def text(self) -> str:
        """The main part as text, with single spaces."""
        main = self.page.partition("<main")[2].partition("</main>")[0]
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", main or self.page)).split())

    def tags(self) -> list[tuple[str, dict[str, str]]]:
        """The tags of the main part with their attributes, as a browser reads them."""
        found: list[tuple[str, dict[str, str]]] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attributes: found.append(  # type: ignore[method-assign, assignment]
            (tag, {name: value or "" for name, value in attributes})
        )
        parser.feed("<main" + self.page.partition("<main")[2].partition("</main>")[0])
        return found

    def links(self, part: str) -> list[str]:
        """The links that have this part."""
        return [unescape(link) for link in re.findall(r'href="([^"]*)"', self.page) if part in unescape(link)]


@dataclass
class RunConsole:
    """The pages, and what they did."""

    engine: Engine
    services: Services = field(init=False)
    routes: tuple[PageRoute, ...] = ()
    underway: dict[str, RunRecord] = field(default_factory=dict)
    cancels_here: bool = False
    start: Callable[..., Awaitable[Run]] = field(init=False)
    """What starts a run."""
    started: list[tuple[str, Caller, bytes, list[str]]] = field(default_factory=list)
    ways: list[StartedBy] = field(default_factory=list)
    come: list[str] = field(default_factory=list)
    """Runs for which a person has decided."""
    """Of each new run: its id, its caller, its body and the names of its headers."""

    async def ask(
        self, method: str, path: str, who: str = "operator", fields: Mapping[str, str] | None = None, **headers: str
    ) -> Seen:
        """What this person gets. `headers` have _ for -."""
        visit, page = self._visit(method, path, who, urlencode(fields or {}).encode(), headers)
        try:
            shown = await page(visit)
        except Problem as problem:
            return Seen(problem.status, problem.code)
        except Refused as refused:
            return Seen(403, refused.failed.name)
        if not isinstance(shown, Shown):
            return Seen(303, "", shown.path)
        frame = {
            "console": "/console",
            "assets": "/console/assets/",
            "viewer": visit.viewer,
            "here": shown.here,
            "node": "here",
            "navigation": NAVIGATION,
            "request_id": visit.request_id,
        }
        return Seen(shown.status, render(shown.template, {**shown.values, **frame}).decode())

    async def get(self, path: str, who: str = "operator", **headers: str) -> Seen:
        return await self.ask("GET", path, who, None, **headers)

    async def post(self, path: str, who: str = "operator", **fields: str) -> Seen:
        return await self.ask("POST", path, who, fields)

    def put(self, *rows: dict[str, Any]) -> None:
        """Record runs."""
        with self.engine.begin() as connection:
            connection.execute(insert(runs), list(rows))

    def change(self, run_id: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(runs).where(runs.c.id == run_id).values(**values))

    def _visit(self, method: str, path: str, who: str, body: bytes, headers: Mapping[str, str]) -> tuple[Visit, Any]:
        url = urlsplit(path)
        for route in self.routes:
            pattern, _, _ = compile_path(route.path)
            found = pattern.match(url.path)
            if route.method == method and found:
                break
        else:
            raise AssertionError(f"no page at {method} {path}")
        sent = {"content_type": "application/x-www-form-urlencoded", **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": url.path,
            "query_string": url.query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
            "client": (ADDRESS, 1),
            "path_params": found.groupdict(),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        viewer = viewer_of(who, self.services)
        return Visit(Request(scope, receive), viewer, new_id()), route.page


def viewer_of(who: str, services: Services) -> Viewer:
    """A person who is signed in."""
    object_id = PEOPLE[who]
    roles = frozenset({"Postern.Operator"}) if who == "operator" else frozenset[str]()
    name = who.capitalize()
    session = Session(hash_of(who * 9), TENANT, object_id, name, roles, ADDRESS, NOON, NOON)
    caller = Caller("user", object_id, TENANT, CLIENT, CLIENT, name, roles=roles, token_version="2.0")
    return Viewer(session, caller, is_operator(services.installation, caller))


@asynccontextmanager
async def open_run_console(folder: Path, database_url: str) -> AsyncIterator[RunConsole]:
    """The pages on this database, with a catalog of real workflows whose runs end at once."""
    (folder / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    values = {
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "audience": ["api://postern"],
        "people": {"lisa": LISA},
        "auth_contexts": {"strong": "c1"},
        "workflows": str(folder),
        "database_url": database_url,
    }
    settings = load_settings({}, folder=folder, defaults=values)
    engine = open_engine(database_url, writing=True)
    console = RunConsole(engine)
    catalog = load_catalog(settings)
    assert not catalog.snapshot.faults

    async def run_on(query: Callable[[Connection], T]) -> T:
        def run() -> T:
            with engine.begin() as connection:
                return query(connection)

        return await anyio.to_thread.run_sync(run)

    async def read(query: Callable[[Connection], T], caller: Holder) -> T:
        """Each read takes the share of the person."""
        assert caller[1] in PEOPLE.values()
        return await run_on(query)

    def now() -> float:
        return NOON + 3600

    async def cancel(run_id: str, by: str) -> bool:
        if console.cancels_here:
            console.change(run_id, state="Cancelled", status=409, ended_at=NOON + 5, cancelled_by=by)
        return console.cancels_here

    async def start(
        workflow: Any,
        caller: Caller,
        request: WorkflowRequest,
        given: Mapping[str, Any] | ReadArguments,
        run_id: str,
        _key: None,
        resubmitted_from: str,
        resubmitted_by: str,
        started_by: StartedBy,
    ) -> Run:
        run = Run(run_id, workflow, caller, request, NOON + 60, NOON + 61)
        run.resubmitted_from, run.resubmitted_by = resubmitted_from, resubmitted_by
        run.outcome = Outcome(State.SUCCEEDED, 200, b'"again"', ((b"content-type", b"application/json"),))
        row = dict(zip(COLUMNS, written(facts(run), "here"), strict=True))
        await run_on(lambda connection: connection.execute(insert(runs), row))
        console.ways.append(started_by)
        console.started.append((run_id, caller, request.body, [name.decode() for name, _ in request._raw_headers]))
        return run

    actions = (read, run_on, binding(settings, lambda: settings.people), as_it_is, console.come.append)
    log = structlog.get_logger("test")
    services = Services(
        settings=settings,
        installation=installation_of(settings),
        read=read,
        write=run_on,
        cancel=cancel,
        resubmit=resubmitter(lambda: catalog.snapshot, lambda *given: console.start(*given), LargeBodies()),
        underway=lambda run_id: console.underway.get(run_id),
        snapshot=lambda: catalog.snapshot,
        log=log,
        now=now,
        approvals=ApprovalActions(*actions, log, now),
        durable=DurableActions(run_on, now=now),
        signals=SignalActions(keeping(run_on), settings.max_body_bytes, log, now),
    )
    console.start = start
    console.services = services
    console.routes = (*run_routes(services), *Approvals(services).routes)
    yield console
    engine.dispose()
