"""Lines of the log as log records of OpenTelemetry. The lines are redacted already. Pure."""

import json
from datetime import datetime
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from postern.trace import run_span_id, trace_id_of

SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
MOST_ATTRIBUTES = 100
_SCALARS = (str, int, float, bool)


def log_record(line: bytes, now: int) -> LogRecord | None:
    """The record of a line in JSON. None for a line that is none. `now` is in nanoseconds."""
    try:
        found = json.loads(line)
        fields: dict[str, Any] = dict(found)
        moment = datetime.fromisoformat(fields.pop("timestamp"))
    except (ValueError, TypeError, KeyError):
        return None
    level = str(fields.pop("level", "info"))
    event = str(fields.pop("event", ""))
    context = _context(fields)
    attributes = {name: _attribute(value) for name, value in list(fields.items())[:MOST_ATTRIBUTES]}
    return LogRecord(
        timestamp=int(moment.timestamp() * 1000) * 1_000_000,
        observed_timestamp=now,
        context=context,
        severity_text=level.upper(),
        severity_number=SEVERITIES.get(level, SeverityNumber.INFO),
        body=event,
        attributes=attributes,
    )


def _context(fields: dict[str, Any]) -> Context:
    """Where the line belongs: its trace, and the span of its run."""
    found = fields.get("run_id")
    run_id = found if isinstance(found, str) else ""
    try:
        trace_id = int(fields.get("trace_id") or trace_id_of(run_id) if run_id else fields["trace_id"], 16)
    except (KeyError, ValueError, TypeError):
        return Context()
    span_id = int(run_span_id(run_id), 16) if run_id else 0
    at = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(at), Context())


def _attribute(value: Any) -> str | int | float | bool:
    return value if isinstance(value, _SCALARS) else json.dumps(value)
