"""The application: its parts in order, and the ASGI application that they make."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from postern.access import Check, StartedBy
from postern.api.docs import TokenCommand
from postern.api.own_host import FIX, MISDIRECTED, OwnHost
from postern.assembly.api import api_part
from postern.assembly.catalog import CatalogPart, catalog_part
from postern.assembly.connections import ConnectionsPart, connections_part
from postern.assembly.console import Beside, Local, console_is_on, console_part
from postern.assembly.grants import grants_part
from postern.assembly.identity import IdentityPart, authority, identity_part
from postern.assembly.journal import journal_part
from postern.assembly.observed import observed_part, records_deleted
from postern.assembly.operations import operations_part, readiness_of
from postern.assembly.part import Part, start
from postern.assembly.refusals import RefusalsPart, refusals_part
from postern.assembly.revocation import revocation_part
from postern.assembly.runs import RunsPart, runs_part
from postern.assembly.security import audit_part
from postern.assembly.senders import senders_part
from postern.assembly.signed_urls import MakeSecret, signed_urls_part
from postern.assembly.telemetry import telemetry_part
from postern.catalog import Catalog
from postern.connections.on_behalf_of.callers import Callers
from postern.console.services import LocalCaller
from postern.errors import problem
from postern.ids import new_id
from postern.journal.refusal import Refusal
from postern.logs import configure_logs, log_format
from postern.runs.runner import Runner
from postern.security.audit.log import AuditLog
from postern.security.revocation.revocations import Revocations
from postern.security.sender_signatures.missing import MissingSecrets
from postern.settings import Settings, load_settings
from postern.triggers.caller_tokens import with_caller_tokens
from postern.triggers.exchange import EXCHANGE, Exchange
from postern.triggers.find import PREFIX
from postern.triggers.gate import Gate
from postern.triggers.large_bodies import LargeBodies
from postern.triggers.pipeline import Pipeline, Start
from postern.triggers.reply import ALWAYS, Answer, problem_reply
from postern.triggers.traced import TracedPipeline


class Application(Starlette):
    """Starlette for everything except triggers. Their requests go straight to the pipeline, which handles every error
    itself: Starlette's routing and error handling would double the pipeline's cost."""

    def __init__(
        self,
        parts: tuple[Part, ...],
        pipeline: Pipeline,
        catalog: Catalog,
        own_host: OwnHost | None = None,
        traced: Pipeline | TracedPipeline | None = None,
    ) -> None:
        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
            async with AsyncExitStack() as stack:
                yield await start(parts, stack)

        super().__init__(
            routes=[route for part in parts for route in part.routes],
            exception_handlers={404: nothing_here, 405: nothing_here},
            lifespan=lifespan,
        )
        self.router.redirect_slashes = False  # a redirect would be built from the Host header
        self.pipeline = pipeline
        self._trigger = traced or pipeline
        self.catalog = catalog
        self._own_host = own_host

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """Respond to one request, or run the server's lifespan (ASGI)."""
        if scope["type"] != "http":
            return super().__call__(scope, receive, send)
        if self._own_host is not None:
            exchange: Exchange | None = scope.get(EXCHANGE)
            elsewhere = self._own_host.elsewhere(scope, exchange.fields if exchange is not None else None)
            if elsewhere is not None:
                return self._send_elsewhere(elsewhere, scope, send)
        raw_path: bytes = scope["raw_path"]
        if raw_path.startswith(PREFIX):
            return self._trigger(scope, receive, send)
        if b"%" in raw_path:  # no page has such a path, but Starlette compares paths after decoding
            answer = problem_reply(problem("not-found"), new_id())
            return answer.send(send, head=scope["method"] == "HEAD")
        return super().__call__(scope, receive, send)

    def _send_elsewhere(self, address: str, scope: Scope, send: Send) -> Awaitable[None]:
        """Respond to a browser that used another name of this server. Nothing else of its request is read."""
        if address != MISDIRECTED:
            location = (b"location", address.encode("latin-1"))
            return Answer(303, [location, (b"content-length", b"0"), *ALWAYS], b"").send(send)
        shown, request_id = problem("misdirected-request"), new_id()
        client = scope.get("client")
        checks = (Check(shown.code, False, None, FIX),)
        refusal = Refusal(request_id, shown.code, shown.code, shown.status, "", client[0] if client else "", checks)
        if self.pipeline.refused(refusal):
            self.pipeline.log.info(
                "request-refused",
                request_id=request_id,
                code=shown.code,
                status=shown.status,
                client_address=refusal.client_address,
                fix=FIX,
            )
        return problem_reply(shown, request_id).send(send, head=scope["method"] == "HEAD")


def create_app(
    settings: Settings,
    *,
    local_tokens: TokenCommand | None = None,
    local_address: str = "",
    local_caller: LocalCaller = lambda _name, _policy: None,
    make_secret: MakeSecret | None = None,
) -> Application:
    """The application that `settings` describe: its parts in the order in which they start. They stop in reverse.

    `local_tokens` gives the commands that print tokens of a local tenant: with it, all callers see the documents of all
    triggers, and failures are logged with their tracebacks. `local_address` is the server's own address then, where the
    console is, whatever the public URL is, and `local_caller` says whom a token of a person there would name.
    `make_secret` makes a secret of this name in the vault of a local tenant. Raises SettingsFault if a workflow needs a
    setting that is not set, and DatabaseFault if the database can never be used. A faulty workflow raises nothing: it
    is listed as a fault, and the others are served.
    """
    log = structlog.get_logger("postern")
    audit = AuditLog()
    note = audit.note
    revocations = Revocations()
    identity = identity_part(settings, revocations)
    missing_secrets = MissingSecrets()
    catalog = catalog_part(settings, identity.serve, missing_secrets)
    connections = connections_part(settings)
    senders = senders_part(catalog.snapshot, connections.connections.vault, missing_secrets)
    journal = journal_part(settings, records_deleted(note))
    process = journal.journal.node[-8:]
    telemetry = telemetry_part(settings, process, log)
    audited = audit_part(settings, audit, journal, connections.connections)
    observed = observed_part(settings, note, journal.journal, catalog, connections)
    revocation = revocation_part(settings, revocations, journal.journal, audit, identity, connections)
    console_on = console_is_on(settings, local_address)
    at = local_address if console_on else None
    grants = grants_part(settings, journal.journal, connections, log, note, at, revocations)
    for_author = local_tokens is not None
    callers = connections.callers
    of_runs = (settings, journal.journal, connections.connections, catalog.triggers, log)
    runs = runs_part(*of_runs, for_author=for_author, pages=grants.address, callers=callers)
    refusals = refusals_part(journal.journal, identity.identity, log, observed.observer.rejected)
    urls = signed_urls_part(settings, journal.journal, identity, catalog, connections, note, make_secret)
    large = LargeBodies()
    beside_runs = (catalog, runs, refusals, grants, revocation)
    api = api_part(settings, journal.journal, identity, *beside_runs, log, local_tokens, large, note, urls.pages)
    before = (telemetry, identity, catalog, connections, journal, audited, observed, revocation, senders)
    checked = (*before, grants, runs, refusals, urls, api)
    readiness = readiness_of(checked)
    shown = (connections, runs, refusals, api, grants, revocation)
    beside = Beside(journal.journal, identity, catalog, *shown, readiness, note, urls)
    console = console_part(settings, beside, log, Local(local_address, local_tokens, local_caller))
    parts = (*checked, console)
    operations = operations_part(parts, readiness, process, runs.requests.settle, telemetry.export)
    pipeline = _pipeline(settings, identity, catalog, connections, runs, refusals, large, log)
    gate = Gate(sender=senders.sender(urls.sender), body=senders.body, admitted=observed.observer.admitted)
    pipeline = replace(telemetry.noted(pipeline, gate), for_author=for_author, console_on=console_on)
    own_host = own_host_of(settings, for_author)
    return Application((*parts, operations), pipeline, catalog.catalog, own_host, telemetry.around(pipeline))


def _pipeline(
    settings: Settings,
    identity: IdentityPart,
    catalog: CatalogPart,
    connections: ConnectionsPart,
    runs: RunsPart,
    refusals: RefusalsPart,
    large_bodies: LargeBodies,
    log: FilteringBoundLogger,
) -> Pipeline:
    """The six steps of a request, made of the parts."""
    return Pipeline(
        triggers=catalog.triggers,
        recall=identity.identification.recall,
        identify=identity.identification.identify,
        still=identity.still,
        start=_start(runs.runner, connections.callers),
        refused=refusals.take,
        max_body_bytes=settings.max_body_bytes,
        log=log,
        count=runs.requests.count,
        client_id=settings.client_id,
        authority=authority(settings),
        large_bodies=large_bodies,
        stopping=lambda: runs.runner.room.closed,
    )


def _start(runner: Runner, callers: Callers | None) -> Start:
    """How the pipeline starts runs. Without a connection on behalf of callers nothing looks at their tokens again."""
    start = partial(runner.start, started_by=StartedBy.REQUEST)
    return with_caller_tokens(start, callers) if callers is not None else start


def own_host_of(settings: Settings, local: bool) -> OwnHost | None:
    """What checks the Host of requests; None if the server has no name of its own. With a local tenant all requests
    are checked."""
    if not local and not settings.public_url:
        return None
    return OwnHost(settings.public_url or "", always=local)


def create_app_from_environment() -> Application:
    """The application of one worker process, with the settings that `postern serve` found."""
    settings = load_settings()
    configure_logs(log_format(settings.log_format))
    return create_app(settings)


async def nothing_here(_: Request, error: Exception) -> Response:
    """The problem for a path that does not exist, or not for this method (RFC 9110, section 15.5.6: with Allow)."""
    allowed = getattr(error, "headers", None) or {}
    code = "method-not-allowed" if getattr(error, "status_code", 404) == 405 else "not-found"
    answer = problem_reply(problem(code, headers=allowed), new_id())
    response = Response(answer.content, answer.status)
    response.raw_headers = answer.headers
    return response
