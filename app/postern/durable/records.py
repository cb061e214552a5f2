"""The records of steps and calls as a part of their checkpoints: a run has each of them once, however often it goes
on."""

import json

from postern.authoring.call_result import Call
from postern.journal.run import Attempt, Step

_CALL = ("number", "step", "name", "started_at", "ended_at", "run_id", "url", "status", "error")
_BY = ("gateway", "agent")
"""Only in the records of calls by a gateway: programs without gateways read the others."""


def step_written(step: Step) -> str:
    """A step as one line of JSON."""
    attempts = [[each.started_at, each.ended_at, each.error] for each in step.attempts]
    return json.dumps([step.number, step.name, step.succeeded, attempts])


def step_read(text: str) -> Step:
    """The step that `step_written` wrote."""
    number, name, succeeded, attempts = json.loads(text)
    return Step(number, name, succeeded, [Attempt(*each) for each in attempts])


def call_written(call: Call) -> str:
    """A call as one line of JSON."""
    names = (*_CALL, *_BY) if call.gateway else _CALL
    return json.dumps([getattr(call, name) for name in names])


def call_read(text: str) -> Call:
    """The call that `call_written` wrote."""
    return Call(**dict(zip((*_CALL, *_BY), json.loads(text), strict=False)))
