"""Which durable runs can be resumed. Pure."""

from enum import StrEnum

from postern.journal.durable_runs import Phase
from postern.journal.run import State

RESUMABLE = frozenset({State.FAILED, State.TIMED_OUT, State.CANCELLED})
"""States from which a durable run can be resumed."""


class NotResumed(StrEnum):
    """Why a run cannot be resumed."""

    INLINE = "Only durable runs can be resumed. Resubmit this one."
    UNENDED = "The run has not ended, and is not parked."
    SUCCEEDED = "The run has succeeded. Resubmit it."
    GONE = "What is needed to run it is not kept any more. Resubmit it."


def why_not_resumed(phase: Phase, state: State, *, has_request: bool) -> NotResumed | None:
    """Why a durable run cannot be resumed; None if it can. `has_request` says that what is needed to run it is
    kept."""
    if phase not in (Phase.ENDED, Phase.PARKED):
        return NotResumed.UNENDED
    if phase is Phase.ENDED and state not in RESUMABLE:
        return NotResumed.SUCCEEDED
    return None if has_request else NotResumed.GONE
