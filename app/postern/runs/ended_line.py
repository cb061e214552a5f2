"""The log line of a run that has ended."""

from functools import cache

from postern.journal.run import Outcome, Run
from postern.logs.line_shape import MILLISECONDS, TEXT, WHOLE, LineShape, Values
from postern.redaction import without_secret_values

_ALWAYS = {
    "run_id": TEXT,
    "workflow": TEXT,
    "state": TEXT,
    "status": WHOLE,
    "duration_ms": MILLISECONDS,
    "caller": TEXT,
    "object_id": TEXT,
    "client_address": TEXT,
}
_USUAL = LineShape("run-ended", _ALWAYS)
_TRACED = LineShape("run-ended", {**_ALWAYS, "trace_id": TEXT})
_FAILED = LineShape("run-ended", {**_ALWAYS, "error": TEXT})
_FAILED_AND_TRACED = LineShape("run-ended", {**_ALWAYS, "trace_id": TEXT, "error": TEXT})


def ended_line(run: Run) -> tuple[LineShape, Values]:
    """The shape of the line and its values. They keep as little of the run as possible: memory that is freed late is no
    longer in the processor's cache when it is used again."""
    outcome, caller = run.outcome, run.caller
    values: Values = (
        run.id,
        run.workflow.name,
        outcome.state._value_,  # the public name is a descriptor that costs ten times as much
        outcome.status,
        (run.ended_at - run.started_at) * 1000,
        caller.kind,
        caller.object_id,
        run.request.client_address,
    )
    trace_id = run.trace_id
    if run.request._via is not None or caller.agent is not None:
        return _through(run, values)
    if not outcome.error_type:
        return (_TRACED, (*values, trace_id)) if trace_id else (_USUAL, values)
    error = _error(outcome)
    return (_FAILED_AND_TRACED, (*values, trace_id, error)) if trace_id else (_FAILED, (*values, error))


def _error(outcome: Outcome) -> str:
    return without_secret_values(f"{outcome.error_type} {outcome.place}".rstrip())


def _through(run: Run, values: Values) -> tuple[LineShape, Values]:
    """The same for a run that did not come by the trigger's URL, or that an agent started."""
    via, agent = run.request._via, run.caller.agent
    more = {"trace_id": run.trace_id} if run.trace_id else {}
    more |= {"error": _error(run.outcome)} if run.outcome.error_type else {}
    more |= via.shown if via is not None else {}
    more |= {"agent": agent.kind} if agent is not None else {}
    return _shape(tuple(more)), (*values, *more.values())


@cache
def _shape(more: tuple[str, ...]) -> LineShape:
    return LineShape("run-ended", {**_ALWAYS, **dict.fromkeys(more, TEXT)})
