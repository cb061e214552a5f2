"""A request that the server's protocol rejects before the application sees it: its log line, and its response."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from postern.access import Check
from postern.errors import PROBLEMS, problem
from postern.journal.refusal import Refusal

log = structlog.get_logger("postern.http")


def notice(state: Mapping[str, Any], request_id: str, code: str, reason: str, client: tuple[str, int] | None) -> None:
    """Write a log line, and pass the refusal to the application's `refused` in the lifespan's state, if there is one:
    it returns whether to log. The trigger is unknown at this point, so no part of the URL is kept."""
    address, port = client or ("", 0)
    refused: Callable[[Refusal], bool] | None = state.get("refused")
    checks = (Check(code, False, None, reason),)
    if refused is None or refused(Refusal(request_id, code, code, PROBLEMS[code].status, "", address, checks)):
        shown = f"{address}:{port}" if client else ""
        log.warning("request-refused", code=code, reason=reason, client=shown, request_id=request_id)


def response_to(code: str, request_id: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole response, after which the connection is closed. `headers` are those of every response."""
    shown = problem(code)
    body = json.dumps(shown.document(request_id)).encode()
    fields = [
        *headers,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"%b%b\r\n%b" % (STATUS_LINE[shown.status], lines, body)
