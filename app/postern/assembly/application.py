"""The application: its parts in order, and the ASGI application that they make."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from postern.api.docs import TokenCommand
from postern.assembly.api import api_part
from postern.assembly.catalog import catalog_part
from postern.assembly.connections import connections_part
from postern.assembly.identity import identity_part
from postern.assembly.journal import journal_part
from postern.assembly.operations import operations_part
from postern.assembly.part import Part, start
from postern.assembly.refusals import refusals_part
from postern.assembly.runs import runs_part
from postern.catalog import Catalog
from postern.errors import problem
from postern.ids import new_id
from postern.logs import configure_logs, log_format
from postern.settings import Settings, load_settings
from postern.triggers.pipeline import Pipeline
from postern.triggers.reply import problem_reply


class Application(Starlette):
    """Starlette for everything except triggers. Their requests go straight to the pipeline, which handles every error
    itself: Starlette's routing and error handling would double the pipeline's cost."""

    def __init__(self, parts: tuple[Part, ...], pipeline: Pipeline, catalog: Catalog) -> None:
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
        self.catalog = catalog

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """Respond to one request, or run the server's lifespan (ASGI)."""
        if scope["type"] == "http" and scope["path"].startswith("/triggers/"):
            return self.pipeline(scope, receive, send)
        return super().__call__(scope, receive, send)


def create_app(settings: Settings, *, local_tokens: TokenCommand | None = None) -> Application:
    """The application that `settings` describe: its parts in the order in which they start. They stop in reverse.

    `local_tokens` gives the commands that print tokens of a local tenant: with it, all callers see the documents of all
    triggers, and failures are logged with their tracebacks. Raises SettingsFault if a workflow needs a setting that is
    not set, and DatabaseFault if the database can never be used. A faulty workflow raises nothing: it is listed as a
    fault, and the others are served.
    """
    log = structlog.get_logger("postern")
    identity = identity_part(settings)
    catalog = catalog_part(settings, identity.serve)
    connections = connections_part(settings)
    journal = journal_part(settings)
    runs = runs_part(
        settings, journal.journal, connections.connections, catalog.triggers, log, for_author=local_tokens is not None
    )
    refusals = refusals_part(journal.journal, identity.identity, log)
    api = api_part(settings, journal.journal, identity, catalog, runs, refusals, log, local_tokens)
    parts = (identity, catalog, connections, journal, runs, refusals, api)
    operations = operations_part(parts, journal.journal.node[-8:], runs.requests.settle)
    pipeline = Pipeline(
        triggers=catalog.triggers,
        recall=identity.identification.recall,
        identify=identity.identification.identify,
        start=runs.runner.start,
        refused=refusals.take,
        max_body_bytes=settings.max_body_bytes,
        log=log,
        count=runs.requests.count,
        client_id=settings.client_id,
        for_author=local_tokens is not None,
        stopping=lambda: runs.runner.room.closed,
    )
    return Application((*parts, operations), pipeline, catalog.catalog)


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
