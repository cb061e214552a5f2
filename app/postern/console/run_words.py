"""A run in words. Pure."""

from collections.abc import Mapping
from typing import Any

from postern.access import BY_SERVER
from postern.console.durable_words import waits_words
from postern.console.words import duration
from postern.journal.reading.records import RunRecord
from postern.journal.reading.step_window import StepWindow
from postern.journal.run import State, Step
from postern.plain_text import plain

KIND_WORDS: Mapping[str, str] = {
    "anonymous": "an anonymous caller",
    "user": "a person",
    "application": "an application",
    "schedule": "a schedule",
    "failure": "a failure",
    "finding": "a finding",
}
"""What starts runs, by the kind of the caller."""

AGENT_WORDS: Mapping[str, str] = {
    "on-behalf-of-user": "acts on behalf of a person",
    "agent-user": "acts as a user account of its own",
    "autonomous": "acts as itself",
}
"""The kinds of agents."""

CANCELLED = "CancelledError"
"""The error of an attempt that was cut off: its run was cancelled, or timed out."""
LONGEST_ERROR = 200
"""Characters of an error in a list."""

_ENDED: Mapping[State, str] = {
    State.SUCCEEDED: "Succeeded in",
    State.FAILED: "Failed after",
    State.CANCELLED: "Cancelled after",
    State.TIMED_OUT: "Timed out after",
    State.INTERRUPTED: "Interrupted after",
}


def sentence(record: RunRecord, step: str, now: float) -> str:
    """What became of a run, in one sentence. `step` is the step that ended it, "" if there is none."""
    if record.state is State.WAITING:
        return (waits_words(record.durable, now) if record.durable is not None else "") or "Waiting for its turn"
    if record.state is State.RUNNING:
        asked = ", cancellation requested" if record.cancel_requested_at is not None else ""
        return f"Running for {duration(now - record.started_at)}{asked}"
    if record.ended_at is None:
        return "Interrupted: its server process ended"
    took = f"{_ENDED[record.state]} {duration(record.ended_at - record.started_at)}"
    return f"{took} in step {step}" if step else took


def step_that_ended(record: RunRecord, window: StepWindow) -> str:
    """The name of the step in which a run ended: the last one that failed, with the error of the run, if no step began
    after it. "" if that cannot be told: a workflow may catch the error of a step, and fail later."""
    error = {State.FAILED: record.error_type, State.TIMED_OUT: CANCELLED, State.CANCELLED: CANCELLED}.get(record.state)
    known = {step.number: step for step in (*window.steps, *window.failed, *([window.last] if window.last else ()))}
    failed = [step for step in known.values() if not step.succeeded and step.attempts]
    if not error or not failed:
        return ""
    ended = max(failed, key=lambda step: step.attempts[-1].ended_at)
    later = any(_began(step) >= ended.attempts[-1].ended_at for step in known.values() if step is not ended)
    return "" if later or ended.attempts[-1].error != error else plain(ended.name)


def error_line(record: RunRecord, *, private: bool) -> str:
    """The error of a run in one line, for a list. `private` is for operators, as in the run API."""
    if not record.error_type:
        return ""
    message = record.error_message if private or record.error_shown else None
    line = f"{record.error_type}: {message}" if message else record.error_type
    return plain(line if len(line) <= LONGEST_ERROR else f"{line[:LONGEST_ERROR]}…")


def caller_words(record: RunRecord) -> str:
    """Who started a run: the name, which is for showing only, or the object id."""
    if record.caller_kind == "anonymous":
        return f"anonymous, {plain(record.caller_name)}" if record.caller_name else "anonymous"
    if record.caller_kind in BY_SERVER:
        return plain(record.caller_name or KIND_WORDS[record.caller_kind])
    return plain(record.caller_name or record.object_id or record.client_id or record.caller_kind)


def who(actor: Mapping[str, Any] | None) -> str:
    """Who cancelled or resubmitted a run, as `journal.run.actor` wrote it."""
    if actor is None:
        return ""
    return plain(str(actor.get("name") or actor.get("object_id") or actor.get("kind") or ""))


def through_words(client: Mapping[str, Any] | None, agent: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What the client says that it is, and the agent of the token, each with its name."""
    found = []
    if client:
        text = " ".join(plain(str(client[part])) for part in ("name", "version") if client.get(part))
        found.append(("Client", f"{text} (unverified: the client says so itself)"))
    if agent:
        kind = str(agent.get("kind") or "")
        found.append(("Agent", AGENT_WORDS.get(kind, plain(kind))))
        ids = (("Agent client id", "client_id"), ("Agent blueprint", "blueprint"))
        found += [(name, plain(str(agent[key]))) for name, key in ids if agent.get(key)]
    return found


def _began(step: Step) -> float:
    return step.attempts[0].started_at if step.attempts else 0.0
