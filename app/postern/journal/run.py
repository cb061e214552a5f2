"""One execution of a workflow: its states, who started it, how it ended, and what its caller gets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the writer's process needs neither an author's workflow nor pydantic
    from postern.access import Caller
    from postern.authoring.request import Request
    from postern.authoring.workflow import Workflow


class State(StrEnum):
    """The state of a run."""

    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    INTERRUPTED = "Interrupted"


OUTCOMES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT})
"""The states in which a run ends as its own process reports. The outcome is recorded once."""

MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.RUNNING, State.CANCELLED, State.INTERRUPTED}),
    State.RUNNING: OUTCOMES | {State.INTERRUPTED},
    # A server process may be thought gone while it was only delayed: then the outcome that it reports counts.
    State.INTERRUPTED: OUTCOMES,
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.TIMED_OUT: frozenset(),
}
"""The legal moves: from each state to the states it may become. The journal's writes enforce them."""

DURABLE_MOVES: Mapping[State, frozenset[State]] = {
    **MOVES,
    # It waits for a time, a signal or an approval, or its server process is gone and another one takes it over.
    State.RUNNING: MOVES[State.RUNNING] | {State.WAITING},
    # A release without durable runs thought its server process gone.
    State.INTERRUPTED: MOVES[State.INTERRUPTED] | {State.WAITING},
}
"""The legal moves of durable runs."""


def before(state: State) -> frozenset[State]:
    """The states from which a durable run may become this one, be it by way of Waiting."""
    by_waiting = state in DURABLE_MOVES[State.WAITING]
    return frozenset(
        each for each, moves in DURABLE_MOVES.items() if state in moves or (by_waiting and State.WAITING in moves)
    )


@dataclass(slots=True)  # not frozen, like Run: one is made for each request
class Outcome:
    """How a run ended, and the response that its caller gets: `status`, `headers` and `content`, ready to be sent.

    `error_type` and `error_message` say what failed, for the record. `shown` means that the author shows both to the
    caller (a Problem); otherwise only operators see the message, because an exception's text may hold anything. `place`
    (file and line) is for the log. `error_traceback` is for operators. `begun` is False if no code of the workflow was
    called. `stream` is what is sent in place of `content` while the run goes on (`authoring.streams`), and at its end
    what was sent: `content` then says how much, for the record. It is None for a reply that is sent as a whole.
    """

    state: State
    status: int
    content: bytes = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    error_type: str = ""
    error_message: str = field(default="", repr=False)
    place: str = ""
    shown: bool = False
    error_traceback: str = field(default="", repr=False)
    begun: bool = True
    stream: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a step. Times are Unix seconds; `error` is the type of its exception, "" if it succeeded."""

    started_at: float
    ended_at: float
    error: str = ""


@dataclass(slots=True)
class Step:
    """A step of a run that has ended: its name, whether it succeeded, and every attempt."""

    number: int
    name: str
    succeeded: bool
    attempts: list[Attempt]


@dataclass(slots=True, eq=False)
class Run:
    """A run, under the id of the request that started it. Times are Unix seconds. `outcome` is set when the run has
    ended, which is when `ended_at` is not 0.

    `trace_id` is 32 hexadecimal digits (W3C Trace Context); "" means `postern.trace.trace_id_of(id)`. `cancelled_by`
    and `resubmitted_by` are what `actor` returns for the caller who did it, "" if none did. `sending` is the reply that
    is sent while the run goes on (`runs.streaming`), None if it is sent as a whole.
    """

    id: str
    workflow: "Workflow"
    caller: "Caller"
    request: "Request"
    started_at: float
    ended_at: float = 0.0
    outcome: Outcome = field(init=False)
    parent_run_id: str = ""
    resubmitted_from: str = ""
    trace_id: str = ""
    cancelled_by: str = ""
    resubmitted_by: str = ""
    sending: Any = field(default=None, repr=False)


def actor(caller: "Caller") -> str:
    """A caller who did something to a run, as the journal keeps it: JSON with the members of a record's `caller`."""
    return json.dumps(
        {
            "kind": caller.kind,
            "object_id": caller.object_id or None,
            "client_id": caller.client_id or None,
            "name": caller.name or None,
        }
    )
