"""A durable run in words: what it waits for, and what makes it go on. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from postern.console.words import moment
from postern.journal.durable_runs import Phase, Reason
from postern.journal.reading.records import DurableState
from postern.plain_text import plain


class Parked(NamedTuple):
    """Why a run is parked, and what makes it go on. `{}` is its workflow."""

    why: str
    goes_on: str


PARKED: Mapping[str, Parked] = {
    Reason.MISSING: Parked("its workflow is not served", "It goes on by itself when the workflow {} is there again."),
    Reason.CHANGED: Parked(
        "the code of its workflow has changed",
        "Its code asks for other steps than those that are recorded. It goes on by itself when code of {} that fits is "
        "there. An operator can also resume it from the start, which repeats completed steps.",
    ),
    Reason.KEY: Parked(
        "the key of its bodies cannot be read",
        "It goes on by itself when the secret in POSTERN_DURABLE_KEY_NAME can be read again in the version that sealed "
        "it.",
    ),
    Reason.UNVERIFIED: Parked(
        "a decision was not written by Postern",
        "The approval waits for a decision again. Find out who writes the database. Then an operator can resume the "
        "run, or cancel it.",
    ),
    Reason.INTERNAL: Parked(
        "Postern had an internal error",
        "The log has its type at the event durable-run-broken. An operator can resume it, which repeats the step that "
        "was under way, or cancel it.",
    ),
    Reason.RESTORED: Parked(
        "the database was restored from a backup",
        "What it did since the backup is not known. An operator can resume it, from the checkpoints of the backup, or "
        "cancel it.",
    ),
    Reason.LOST: Parked(
        "checkpoints are missing, or older than the database",
        "An operator can cancel it, or resume it: then it repeats all its steps.",
    ),
}


def waits_words(state: DurableState, now: float) -> str:
    """What a run that is not executing waits for; "" for one that is executing, or has ended."""
    match state.phase:
        case Phase.READY:
            return "Waiting to go on" if state.attempt else "Waiting for its turn"
        case Phase.PARKED:
            return f"Parked: {parked_words(state.reason or '').why}"
        case Phase.WAITING:
            return _waiting(state, now)
    return ""


def goes_on_words(state: DurableState, workflow: str, now: float) -> str:
    """What makes a run go on; "" for one that is executing, or has ended."""
    match state.phase:
        case Phase.READY:
            return "It goes on as soon as a server process has a free place."
        case Phase.PARKED:
            return parked_words(state.reason or "").goes_on.format(plain(workflow))
        case Phase.WAITING:
            return _wakes(state, now)
    return ""


def parked_words(reason: str) -> Parked:
    """Why runs with this reason are parked."""
    unknown = Parked(plain(reason) or "of an unknown reason", "It goes on by itself when the reason is gone.")
    return PARKED.get(reason, unknown)


def reason_words(state: DurableState, now: float) -> str:
    """The same as `waits_words` for a row of a list, which has the state already."""
    words = waits_words(state, now).removeprefix("Waiting ")
    return words[:1].lower() + words[1:]


def _waiting(state: DurableState, now: float) -> str:
    if state.wakes_at is not None and state.wakes_at <= now:
        return "Waiting to go on"
    until = "" if state.wakes_at is None else f" until {moment(state.wakes_at)} UTC"
    match state.reason:
        case Reason.SIGNAL:
            return f"Waiting for the signal {plain(state.waits_for or '')}{until}"
        case Reason.APPROVAL:
            return f"Waiting for the approval {plain(state.waits_for or '')}{until}"
    return f"Sleeping{until}"


def _wakes(state: DurableState, now: float) -> str:
    if state.wakes_at is not None and state.wakes_at <= now:
        return "It goes on as soon as a server process has a free place."
    late = "" if state.wakes_at is None else " It also goes on when the time is over."
    match state.reason:
        case Reason.SIGNAL:
            return f"It goes on when the signal arrives.{late}"
        case Reason.APPROVAL:
            return f"It goes on when a person has decided.{late}"
    return "It goes on by itself at that time, also after a restart."
