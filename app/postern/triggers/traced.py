"""Traces requests to triggers: a span for each request, and spans for its steps below it. It is around the pipeline
only where telemetry is on.

The ids of the spans of a request and of its run are derived from the request's id, as `traceparent` for calls out is.
So the trace id in the record of a run is that of its spans.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from postern.access import Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.ids import new_id
from postern.journal.run import Run
from postern.runs.idempotency import Key
from postern.runs.underway import Late
from postern.telemetry.spans import CURRENT, Ended, Position, Value, new_span_id, span
from postern.trace import SAMPLED, Trace, request_span_id, run_span_id, trace_id_of
from postern.triggers.argument_reader import Arguments
from postern.triggers.pipeline import Pipeline, Start
from postern.triggers.read import Receive
from postern.triggers.rejections import trace_of
from postern.triggers.reply import Send
from postern.triggers.secure_transport import Scope
from postern.triggers.via import VIA

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class Recorder(Protocol):
    """What records spans."""

    def sampled(self, trace: Trace | None, trace_id: str) -> bool:
        """Whether the trace of a request is recorded. `trace` is the one that the request names."""

    def take(self, ended: Ended) -> None:
        """Take a span that has ended."""


@dataclass(slots=True)
class _Traced:
    """A request while it is answered. Times are in nanoseconds since 1970; 0 if it did not get so far."""

    trace: Trace
    began: int
    recorder: Recorder | None
    found: Trigger | None = None
    admitted: int = 0
    read: int = 0
    ran: int = 0
    status: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)


_REQUEST: ContextVar[_Traced | None] = ContextVar("traced", default=None)


class TracedPipeline:
    """The pipeline with traces. `recorder` returns what records spans, None before the server has started."""

    def __init__(self, pipeline: Pipeline, recorder: Callable[[], Recorder | None]) -> None:
        self._pipeline = pipeline
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send, request_id: str = "") -> None:
        """Respond to one request (ASGI). What calls tools gives their ids."""
        request_id = request_id or new_id()
        recorder = self._recorder()
        if recorder is None:
            await self._pipeline(scope, receive, send, request_id)
            return
        named = trace_of(scope)
        trace_id = trace_id_of(request_id, named)
        sampled = recorder.sampled(named, trace_id)
        flags = ((named.flags if named is not None else 0) & ~SAMPLED) | (SAMPLED if sampled else 0)
        own, state = request_span_id(request_id), named.state if named is not None else ""
        trace = Trace(trace_id, named.parent_id if named is not None else own, flags, state)
        request = _Traced(trace, time.time_ns(), recorder if sampled else None)
        _REQUEST.set(request)
        if sampled:
            CURRENT.set(Position(recorder.take, trace_id, own, flags, state))
        try:
            await self._pipeline(scope, receive, send, request_id)
        finally:
            if sampled:
                _end(request, recorder, own, named, scope)


def found(trigger: Trigger, scope: Scope) -> None:
    """Note the trigger of the request (Gate.before)."""
    del scope
    if (request := _REQUEST.get()) is not None:
        request.found = trigger


def admitted(trigger: Trigger, caller: Caller, scope: Scope) -> None:
    """Note that the caller was admitted (Gate.after)."""
    del trigger
    if (request := _REQUEST.get()) is not None:
        request.admitted = time.time_ns()
        request.attributes["postern.caller.kind"] = caller.kind
        if caller.agent is not None:
            request.attributes["postern.agent.kind"] = caller.agent.kind
            request.attributes["postern.agent.client_id"] = caller.agent.client_id
        if VIA in scope:
            request.attributes["postern.via"] = scope[VIA].kind


def answered(scope: Scope, status: int) -> None:
    """Note the status of the response (Gate.answered)."""
    del scope
    if (request := _REQUEST.get()) is not None:
        request.status = status


def traced_start(start: Start) -> Start:
    """A function that starts a run like `start`, with a span for it. The run passes the trace on as it is recorded."""

    async def started(
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Arguments,
        run_id: str,
        key: Key | None,
        late: Late | None,
    ) -> Run:
        traced = _REQUEST.get()
        if traced is None:
            return await start(workflow, caller, request, arguments, run_id, key, late)
        traced.read = time.time_ns()
        request.trace = traced.trace
        try:
            with span(f"run {workflow.name}", span_id=run_span_id(run_id), hides_errors=workflow.secures) as running:
                run = await start(workflow, caller, request, arguments, run_id, key, late)
                running.set("postern.workflow", workflow.name)
                if run.outcome is not None:
                    running.set("postern.run.state", str(run.outcome.state))
                    running.error = str(run.outcome.state) if run.outcome.status >= 500 else ""
                return run
        finally:
            traced.ran = time.time_ns()

    return started


def _end(request: _Traced, recorder: Recorder, own: str, named: Trace | None, scope: Scope) -> None:
    """Note the spans of the request and of its steps."""
    now, trace = time.time_ns(), request.trace

    def step(name: str, start: int, end: int) -> None:
        if start and end:
            ended = Ended(name, "internal", trace.trace_id, new_span_id(), own, start, end, trace.flags, trace.state)
            recorder.take(ended)

    step("identify", request.began, request.admitted)
    step("read", request.admitted, request.read)
    step("reply", request.ran, now)
    method = scope["method"] if scope["method"] in METHODS else "_OTHER"
    name, attributes = method if method != "_OTHER" else "HTTP", request.attributes
    attributes["http.request.method"] = method
    attributes["url.scheme"] = scope["scheme"]
    if request.found is not None:
        workflow = request.found.workflow
        attributes["http.route"] = route = f"/triggers/{workflow.name}{workflow.path}"
        attributes["postern.workflow"] = workflow.name
        name = f"{name} {route}"
    if request.status:
        attributes["http.response.status_code"] = request.status
    parent = named.parent_id if named is not None else ""
    error = str(request.status) if request.status >= 500 else "" if request.status else "disconnected"
    recorder.take(
        Ended(
            name,
            "server",
            trace.trace_id,
            own,
            parent,
            request.began,
            now,
            trace.flags,
            trace.state,
            remote=True,
            attributes=attributes,
            error=error,
        )
    )
