"""The run API as routes of Starlette, and its errors as problems."""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.typing import FilteringBoundLogger

from app.access import Caller, Refused
from app.api.access import House
from app.api.pages import Cancel, Pages, Read, Resubmit, Write
from app.catalog import Snapshot
from app.errors import Problem, problem
from app.ids import new_id
from app.triggers.challenge import unauthenticated
from app.triggers.reply import Answer, problem_reply

Page = Callable[[Request], Awaitable[Answer]]


def routes(
    *,
    read: Read,
    write: Write,
    identify: Callable[[Iterable[tuple[bytes, bytes]]], Awaitable[Caller]],
    cancel: Cancel,
    resubmit: Resubmit,
    snapshot: Callable[[], Snapshot],
    tenants: Iterable[str],
    audiences: Iterable[str],
    operators: Iterable[str],
    log: FilteringBoundLogger,
    now: Callable[[], float] = time.time,
) -> list[Route]:
    """The routes of the run API.

    `read` and `write` are the journal's, `identify` verifies the token in raw headers, `snapshot` gives the catalog of
    the moment. `tenants` and `audiences` are the installation's own, `operators` the object ids of its operators.
    """
    house = House(frozenset(tenants), frozenset(audiences), frozenset(operators))
    pages = Pages(house, read, write, identify, cancel, resubmit, snapshot, now)
    table: tuple[tuple[str, str, Page], ...] = (
        ("GET", "/runs", pages.runs),
        ("GET", "/runs/{id}", pages.run),
        ("GET", "/runs/{id}/result", pages.result),
        ("POST", "/runs/{id}/cancel", pages.cancel),
        ("POST", "/runs/{id}/resubmit", pages.resubmit),
        ("GET", "/refusals", pages.refusals),
        ("GET", "/workflows", pages.workflows),
    )
    return [Route(path, _endpoint(page, path, log), methods=[method]) for method, path, page in table]


def _endpoint(page: Page, path: str, log: FilteringBoundLogger) -> Callable[[Request], Awaitable[Response]]:
    """The page with its errors as problems. Nothing else of an error leaves, and the log has no id of a run: that of an
    anonymous caller's opens it."""

    async def endpoint(request: Request) -> Response:
        request_id = new_id()
        refused: Refused | None = None
        try:
            _check_path(request)
            return _response(await page(request), request)
        except Refused as turned_away:
            refused, shown = turned_away, unauthenticated(turned_away)
        except Problem as told:
            shown = told
        except Exception:
            log.exception("request-failed", request_id=request_id, page=path)
            return _response(problem_reply(problem("internal-error"), request_id), request)
        log.info("request-refused", request_id=request_id, page=path, **_told(shown, refused, request))
        return _response(problem_reply(shown, request_id), request)

    return endpoint


def _check_path(request: Request) -> None:
    """Raise Problem `not-found` for a path with encoded parts: other programs may read it differently."""
    if request.scope["raw_path"] != request.scope["path"].encode():
        raise problem("not-found")


def _told(shown: Problem, refused: Refused | None, request: Request) -> dict[str, Any]:
    failed = refused.failed if refused else None
    return {
        "code": shown.code,
        "status": shown.status,
        "reason": shown.reason,
        "expected": _text(failed.expected) if failed else "",
        "found": _text(failed.found) if failed else "",
        "client_address": request.client.host if request.client else "",
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(sorted(value) if isinstance(value, frozenset) else value)[:300]


def _response(answer: Answer, request: Request) -> Response:
    """As Starlette has it. To HEAD, the same without its content (RFC 9110, section 9.3.2)."""
    response = Response(b"" if request.method == "HEAD" else answer.content, answer.status)
    response.raw_headers = answer.headers
    return response
