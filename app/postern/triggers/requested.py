"""The request as its workflow sees it, and what its headers say of the run."""

from collections.abc import Mapping

from postern.access import Caller, Guarded
from postern.authoring.request import Request
from postern.catalog import Trigger
from postern.journal.shares import Holder, holder_of
from postern.own_cookies import without_own_cookies
from postern.runs.idempotency import HEADER as IDEMPOTENCY_KEY
from postern.runs.idempotency import Key, key_of
from postern.trace import Trace, parse
from postern.triggers.rejections import address_of, trace_of
from postern.triggers.secure_transport import Scope
from postern.triggers.via import VIA

WITHHELD = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Headers that a workflow behind an authenticated trigger does not see. An anonymous one does not see the cookies of
Postern's own pages."""

NOTHING: frozenset[bytes] = frozenset()


def holder_in(scope: Scope, caller: Caller) -> Holder:
    """Who counts as the caller of a request, where callers share something."""
    return holder_of(caller.kind, caller.tenant_id, caller.object_id, address_of(scope))


def request_of(
    trigger: Trigger,
    path: Mapping[str, str],
    scope: Scope,
    single: Mapping[bytes, bytes] | None,
    fields: Mapping[bytes, bytes],
    body: bytes,
) -> Request:
    """The request as the workflow sees it. `single` are its headers if each name occurs once."""
    headers, withheld = scope["headers"], WITHHELD
    if not isinstance(trigger.policy, Guarded):
        withheld = NOTHING
        if b"cookie" in fields:
            headers = without_own_cookies(headers)
    content_type = fields.get(b"content-type")
    kind = "" if content_type is None else content_type.decode("latin-1")
    client, query = address_of(scope), scope["query_string"]
    request = Request(scope["method"], scope["path"], path, client, body, query, headers, withheld, kind)
    if b"traceparent" in fields:
        request.trace = _trace(single, scope)
    if VIA in scope:
        request._via = scope[VIA]
    return request


def _trace(fields: Mapping[bytes, bytes] | None, scope: Scope) -> Trace | None:
    """The trace that the request names. `fields` are its headers if each name occurs once. A request with two
    `traceparent` headers names no trace."""
    if fields is not None:
        field = fields.get(b"traceparent")
        return parse(field, fields.get(b"tracestate", b"")) if field is not None else None
    return trace_of(scope)


def idempotency_key(trigger: Trigger, caller: Caller, request: Request, scope: Scope) -> Key:
    """The idempotency key that the request gives."""
    values = [value for name, value in scope["headers"] if name == IDEMPOTENCY_KEY]
    return key_of(trigger.workflow, caller, request, values)
