"""Spans as OpenTelemetry exports them. Pure."""

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from postern.telemetry.spans import Ended

KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}


def readable_span(ended: Ended, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """The span for the exporter."""
    attributes = {**ended.attributes, "error.type": ended.error} if ended.error else ended.attributes
    parent = None
    if ended.parent_id:
        parent = _context(ended.trace_id, ended.parent_id, ended.flags, ended.state, remote=ended.remote)
    return ReadableSpan(
        ended.name,
        context=_context(ended.trace_id, ended.span_id, ended.flags, ended.state),
        parent=parent,
        resource=resource,
        attributes=attributes,
        kind=KINDS[ended.kind],
        status=Status(StatusCode.ERROR if ended.error else StatusCode.UNSET),
        start_time=ended.start,
        end_time=ended.end,
        instrumentation_scope=scope,
    )


def _context(trace_id: str, span_id: str, flags: int, state: str, *, remote: bool = False) -> SpanContext:
    states = TraceState.from_header([state]) if state else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(flags), states)
