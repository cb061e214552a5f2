"""Pages of other origins that call a trigger from a browser (Fetch Standard, "CORS protocol"). Pure.

A workflow names the origins of such pages. They are compared as they are written. The page may then read each reply,
problems too, with all its header fields. Credentials of the browser are never allowed: no answer has
`Access-Control-Allow-Credentials`, so a page sends an access token itself. Pages of other origins get no field of CORS,
and their browsers show them nothing.

A preflight request asks whether a request may be sent. It has no token, and is answered before a caller is identified.
"""

from collections.abc import Callable, Iterable, Mapping

from postern.authoring.reach import ANY_ORIGIN
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.errors import Problem
from postern.networks import in_networks
from postern.triggers.find import PREFIX, allowed, find
from postern.triggers.gate import add_header
from postern.triggers.rejections import address_of
from postern.triggers.reply import ALWAYS, Answer
from postern.triggers.secure_transport import Scope

MAX_AGE = b"600"
"""Seconds for which a browser may keep the answer to a preflight request. Chromium keeps none longer than 7200."""

REQUEST_HEADERS = (
    b"authorization, content-type, idempotency-key, prefer, traceparent, tracestate, x-ms-client-tracking-id"
)
"""What a page may send. `Authorization` counts only where it is named."""

ALLOW, EXPOSE, VARY = b"access-control-allow-origin", b"access-control-expose-headers", b"vary"

Triggers = Callable[[], Mapping[str, Trigger]]


def preflights(triggers: Triggers) -> Callable[[Scope], Answer | None]:
    """Answers preflight requests for the triggers."""

    def preflight(scope: Scope) -> Answer | None:
        headers, raw_path = scope["headers"], scope["raw_path"]
        method = _single(headers, b"access-control-request-method")
        if not method or not raw_path.startswith(PREFIX):
            return None
        try:
            workflow = find(triggers(), method, raw_path)[0].workflow
        except Problem:
            return None
        networks = workflow.networks
        if "OPTIONS" in workflow.methods or (networks and not in_networks(address_of(scope), networks)):
            return None
        return _preflight_answer(workflow, _single(headers, b"origin"))

    return preflight


def _preflight_answer(workflow: Workflow, origin: str) -> Answer | None:
    """The answer for a page of this origin; None if it may not call the workflow."""
    fields = fields_for(workflow.origins, origin) if origin else {}
    if ALLOW not in fields:
        return None
    fields[b"access-control-allow-methods"] = ", ".join(allowed(workflow.methods)).encode()
    fields[b"access-control-allow-headers"] = REQUEST_HEADERS
    fields[b"access-control-max-age"] = MAX_AGE
    return Answer(204, [*fields.items(), *ALWAYS], b"")


def let_read(trigger: Trigger, scope: Scope) -> None:
    """Let the page that sent the request read the answer, if its origin is one of the workflow's. An author whose
    function answers OPTIONS requests sets the fields of those answers."""
    workflow = trigger.workflow
    if workflow.origins and not (scope["method"] == "OPTIONS" and "OPTIONS" in workflow.methods):
        for name, value in fields_for(workflow.origins, _single(scope["headers"], b"origin")).items():
            add_header(scope, name, value)


def fields_for(origins: tuple[str, ...], origin: str) -> dict[bytes, bytes]:
    """The header fields of an answer to a page of this origin. Where origins are named, caches learn that the answer
    depends on the origin."""
    if not origins:
        return {}
    if origins == (ANY_ORIGIN,):
        return {ALLOW: b"*", EXPOSE: b"*"}
    readable = {ALLOW: origin.encode("latin-1"), EXPOSE: b"*"} if origin in origins else {}
    return {**readable, VARY: b"origin"}


def _single(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    """The value of a header that occurs once; else "", which is no origin and no method."""
    values = [value for name, value in headers if name == wanted]
    return values[0].decode("latin-1") if len(values) == 1 else ""
