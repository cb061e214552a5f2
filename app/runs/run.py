"""One execution of a workflow: what it is called, who started it, how it ended, and what its caller gets."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.access import Caller


class State(StrEnum):
    """How a run may end."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"


@dataclass(slots=True)  # not frozen, like Run: one is made for each request
class Outcome:
    """How a run ended, and the answer that its caller gets: `status`, `headers` and `content`, ready to be sent.

    `error` names an unexpected failure for the log (`TypeError at orders.py:12`), never with the text of the
    exception, which may hold what was sent.
    """

    state: State
    status: int
    content: bytes = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    error: str = ""


@dataclass(slots=True)
class Run:
    """A run, under the id of the request that started it. Times are Unix seconds; `outcome` and `ended_at` are there
    when it has ended."""

    id: str
    workflow: str
    caller: Caller
    client_address: str
    started_at: float
    ended_at: float = field(default=0.0, init=False)
    outcome: Outcome = field(init=False)

    def fields(self) -> dict[str, str | int | float]:
        """What its line in the log says."""
        outcome, caller = self.outcome, self.caller
        fields: dict[str, str | int | float] = {
            "run_id": self.id,
            "workflow": self.workflow,
            "state": outcome.state._value_,  # the public name is a descriptor that costs ten times as much
            "status": outcome.status,
            "duration_ms": round((self.ended_at - self.started_at) * 1000, 3),
            "caller": caller.kind,
            "object_id": caller.object_id,
            "client_address": self.client_address,
        }
        if outcome.error:
            fields["error"] = outcome.error
        return fields
