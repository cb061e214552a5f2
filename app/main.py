"""The only place where the parts are put together: settings in, application out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app import api
from app.access import Access, Guarded, Policy, SettingMissing, bind
from app.api.access import House
from app.api.again import resubmitter
from app.api.docs import ASKED_AT, Docs
from app.api.health import Check, Readiness, folder_readable, healthz, journal_works, keys_usable
from app.api.metrics import Metrics, Sources
from app.catalog import Catalog, Snapshot
from app.connections import Connections
from app.connections.calls import Calls
from app.connections.expiry import Expiry
from app.errors import Problem, problem
from app.http_client import http_client
from app.identity import CLOUDS, Examined, Identity, Tenant, examine, fetch_keys, tenant
from app.ids import new_id
from app.logs import configure_logs, log_format, write_later
from app.openapi.document import Installation
from app.runs.journal.database import check_database
from app.runs.journal.journal import Journal
from app.runs.nodes import Nodes
from app.runs.refusals import Examine, Refusals
from app.runs.retention import Retention
from app.runs.run import Run, State
from app.runs.runner import Runner
from app.runs.steps import Steps
from app.runs.windows import Refusal
from app.settings import SettingProblem, Settings, SettingsFault, load_settings
from app.settings.references import secret_references
from app.triggers.counts import RequestCounts
from app.triggers.door import Door
from app.triggers.reply import problem_reply
from app.triggers.transport import Identification
from app.workflow import Services

FetchFor = Callable[[Tenant], Callable[[], Awaitable[bytes]]]


class Application(Starlette):
    """Starlette for everything but triggers. Their requests go straight to the door, which answers every error itself:
    Starlette's routing and its layers of error handling would double what the door costs."""

    door: Door
    catalog: Catalog

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """Answer one request, or follow the life of the server (ASGI)."""
        if scope["type"] == "http" and scope["path"].startswith("/triggers/"):
            return self.door(scope, receive, send)
        return super().__call__(scope, receive, send)


def create_app(settings: Settings, *, local_tokens: str = "") -> Application:
    """The application that `settings` describe. Raises SettingsFault where a workflow needs a setting that is not set,
    and DatabaseFault where the database can never serve.
    `local_tokens` is the command that prints tokens of a local tenant: with it, everybody sees the docs of everything.
    A faulty workflow raises nothing: it is a fault of the catalog, and the others are served."""
    log = structlog.get_logger("postern")
    client = http_client(settings.ca_bundle)
    identity = create_identity(settings, lambda of: partial(fetch_keys, client, of))
    identification = Identification(identity.recall, identity.identify)
    catalog = load_catalog(settings, on_change=lambda _, new: identity.serve(tenants(settings, new)))
    connections = Connections(settings, settings.authority or CLOUDS[settings.cloud].authority)
    expiry = Expiry(connections.vault, secret_references(settings), asked=lambda: connections.vault.names)
    check_database(settings.database_url)
    journal = Journal(settings.database_url)
    steps = Steps(note=journal.note_step)
    requests = RequestCounts(served=lambda: catalog.snapshot.triggers)
    calls = Calls(settings, lambda: catalog.snapshot.triggers, connections.open, journal.note_call)
    services = Services(connections.secret, connections.client, log, steps.run, calls.call)
    runner = Runner(services, journal, teller(requests.ran))
    nodes = Nodes(
        journal.node,
        journal.read,
        journal.write,
        cancel=runner.begin_cancel,
        running=lambda: runner.running,
    )
    retention = Retention(journal.write, settings.retention_days)
    refusals = Refusals(journal.write, examiner(identity), log)
    checks: dict[str, Check] = {
        "signing_keys": keys_usable(lambda: identity.ready, lambda: identity.errors),
        "journal": journal_works(lambda: journal.available, journal.read),
        "catalog": folder_readable(settings.workflows),
    }
    readiness = Readiness(checks)
    sources = Sources(
        process=journal.node[-8:],
        journal=journal,
        version=own_version(),
        requests=requests,
        running=lambda: runner.running_by_workflow,
        key_ages=lambda: identity.ages,
        nodes=lambda: len(nodes.known),
        faults=lambda: len(catalog.snapshot.faults),
        secret_ends=lambda: expiry.ends,
    )
    door = Door(
        triggers=lambda: catalog.snapshot.triggers,
        recall=identification.recall,
        identify=identification.identify,
        start=runner.start,
        refused=refusals.take,
        max_body_bytes=settings.max_body_bytes,
        log=log,
        count=requests.count,
        client_id=settings.client_id,
    )

    house = House(frozenset(own_tenants(settings)), frozenset(settings.audience), frozenset(settings.operators))
    docs = Docs(
        house,
        identification.identify,
        lambda: catalog.snapshot,
        described(settings, settings.public_url or ASKED_AT),
        local_tokens,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        await journal.start()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(identity.run)
                tasks.start_soon(catalog.watch)
                tasks.start_soon(refusals.run)
                tasks.start_soon(nodes.run)
                tasks.start_soon(retention.run)
                if settings.key_vault_url:
                    tasks.start_soon(expiry.run)
                yield {
                    "draining": readiness.stop,
                    "idle": lambda: runner.running == 0,
                    "closing": runner.drain,
                    "refused": refusals.take,
                }
                tasks.cancel_scope.cancel()
            await refusals.aclose()
            runner.close()
            steps.close()
            with suppress(Problem):
                await nodes.leave()
            await journal.aclose()
        finally:
            journal.abandon()  # where the server ends at once: its socket would keep the event loop
        await connections.aclose()
        await client.aclose()

    app = Application(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readiness.answer),
            Route("/metrics", Metrics(sources).answer),
            *api.routes(
                read=journal.read,
                write=journal.write,
                identify=identification.identify,
                cancel=runner.cancel,
                resubmit=resubmitter(lambda: catalog.snapshot, runner.start),
                snapshot=lambda: catalog.snapshot,
                house=house,
                refused=refusals.take,
                log=log,
                more=docs.pages,
            ),
        ],
        exception_handlers={404: _nothing_here, 405: _nothing_here},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would be built from the Host header
    app.door = door
    app.catalog = catalog
    return app


def create_app_from_environment() -> Application:
    """The application of one worker process, whose settings are found where `postern serve` found them."""
    settings = load_settings()
    configure_logs(log_format(settings.log_format))
    return create_app(settings)


def load_catalog(settings: Settings, on_change: Callable[[Snapshot, Snapshot], None] | None = None) -> Catalog:
    """The loaded catalog of the settings' folder, with policies for this installation. Raises SettingsFault where a
    workflow's access mode needs a setting that is not set."""
    missing: dict[str, str] = {}

    def bind_here(access: Access) -> Policy:
        try:
            return bind(access, people=settings.people, tenants=own_tenants(settings), audiences=settings.audience)
        except SettingMissing as fault:
            missing.update(fault.settings)
            raise

    catalog = Catalog(settings.workflows, bind_here, on_change=on_change)
    catalog.load()
    if missing:
        wrong = "is not set, and a workflow that is not anonymous needs it"
        raise SettingsFault(
            [SettingProblem(name, "nowhere", wrong, f"It needs {fix}") for name, fix in missing.items()]
        )
    return catalog


def create_identity(settings: Settings, fetch_for: FetchFor) -> Identity:
    """Who is asking, by the rules of the settings; `fetch_for` gives what fetches a tenant's signing keys."""
    return Identity(
        fetch_for,
        leeway=settings.clock_leeway,
        max_age=min(settings.keys_max_age, settings.keys_stale / 2),  # a refresh may fail once before keys go stale
        cooldown=settings.keys_cooldown,
        stale=settings.keys_stale,
    )


def described(settings: Settings, server_url: str) -> Installation:
    """What the documents of the triggers say of this installation."""
    authority = settings.authority or CLOUDS[settings.cloud].authority
    return Installation(server_url, authority, settings.tenant_id, settings.audience)


def own_tenants(settings: Settings) -> tuple[str, ...]:
    """The tenant of the settings, if there is one."""
    return (settings.tenant_id,) if settings.tenant_id else ()


def tenants(settings: Settings, snapshot: Snapshot) -> list[Tenant]:
    """Every tenant that a workflow of the catalog lets in."""
    policies = [trigger.policy for trigger in snapshot.triggers.values()]
    ids = set(own_tenants(settings)).union(*(policy.tenants for policy in policies if isinstance(policy, Guarded)))
    return [tenant(tenant_id, settings.cloud, settings.authority) for tenant_id in sorted(ids)]


def own_version() -> str:
    """The version that is installed; "unknown" where the program runs from its sources alone."""
    try:
        return version("postern")
    except PackageNotFoundError:
        return "unknown"


def examiner(identity: Identity) -> Examine:
    """What looks at the token of a refused request, by the keys and tenants of the moment."""

    async def examine_refusal(refusal: Refusal) -> Examined | None:
        if refusal.policy is None:
            return None
        return await examine(identity, refusal.headers, refusal.policy, proved=refusal.proved)

    return examine_refusal


def teller(ran: Callable[[Run], None]) -> Callable[[Run], None]:
    """What is told of each run that has ended: it is counted by `ran`, and logged in one line unless it is on record
    and nothing is to be said but that it succeeded."""

    def tell(run: Run) -> None:
        ran(run)
        if run.workflow.stateless or run.outcome.state is not State.SUCCEEDED:
            write_later("run-ended", run.ended_at, run.line())

    return tell


async def _nothing_here(_: Request, error: Exception) -> Response:
    """The problem for a page that is not there, or not by this method (RFC 9110, section 15.5.6: with Allow)."""
    allowed = getattr(error, "headers", None) or {}
    code = "method-not-allowed" if getattr(error, "status_code", 404) == 405 else "not-found"
    answer = problem_reply(problem(code, headers=allowed), new_id())
    response = Response(answer.content, answer.status)
    response.raw_headers = answer.headers
    return response
