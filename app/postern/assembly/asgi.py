"""The ASGI application: triggers go to the pipeline, all else to Starlette."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from postern.access import Check, Refused
from postern.api.own_host import FIX, MISDIRECTED, OwnHost
from postern.assembly.later_pages import LaterPages
from postern.assembly.part import Part, start
from postern.catalog import Catalog
from postern.errors import problem
from postern.ids import new_id
from postern.journal.refusal import Refusal
from postern.triggers.exchange import EXCHANGE, Exchange
from postern.triggers.find import PREFIX
from postern.triggers.pipeline import Pipeline
from postern.triggers.reply import ALWAYS, Answer, problem_reply


class Application(Starlette):
    """Starlette for everything except triggers. Their requests go straight to the pipeline, which handles every error
    itself: Starlette's routing and error handling would double the pipeline's cost."""

    def __init__(
        self,
        parts: tuple[Part, ...],
        pipeline: Pipeline,
        catalog: Catalog,
        own_host: OwnHost | None = None,
        outside: Callable[[Scope], Refused | None] | None = None,
        traced: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None,
    ) -> None:
        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
            async with AsyncExitStack() as stack:
                yield await start(parts, stack)

        super().__init__(
            routes=[
                *(route for part in parts for route in part.routes),
                LaterPages(part.later_routes for part in parts if part.later_routes is not None),
            ],
            exception_handlers={404: nothing_here, 405: nothing_here},
            lifespan=lifespan,
        )
        self.router.redirect_slashes = False  # a redirect would be built from the Host header
        self.pipeline = pipeline
        self._trigger = traced or pipeline
        self.catalog = catalog
        self._own_host = own_host
        self._outside = outside

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """Respond to one request, or run the server's lifespan (ASGI)."""
        if scope["type"] != "http":
            return super().__call__(scope, receive, send)
        if self._outside is not None and (refused := self._outside(scope)) is not None:
            return self.pipeline.turn_away(refused, scope, send)
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


async def no_trigger(scope: Scope, receive: Receive, send: Send) -> None:
    """What a process has in place of triggers that serves none."""
    await problem_reply(problem("not-found"), new_id()).send(send, head=scope["method"] == "HEAD")


async def nothing_here(_: Request, error: Exception) -> Response:
    """The problem for a path that does not exist, or not for this method (RFC 9110, section 15.5.6: with Allow)."""
    allowed = getattr(error, "headers", None) or {}
    code = "method-not-allowed" if getattr(error, "status_code", 404) == 405 else "not-found"
    answer = problem_reply(problem(code, headers=allowed), new_id())
    response = Response(answer.content, answer.status)
    response.raw_headers = answer.headers
    return response
