"""What a durable run waits for: signals and decisions of people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Signal:
    """What was sent to a run: `POST /runs/{id}/signals/{name}`. `body` is its parsed JSON. `sent_by` has the members
    `kind`, `object_id`, `client_id` and `name`; `sent_at` is in Unix seconds."""

    name: str
    body: Any = field(repr=False)
    sent_at: float = 0.0
    sent_by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of an approval. It is true only if it was approved. `decided_by` has the members `kind`, `object_id`,
    `client_id` and `name` of the person who decided, and `decided_at` is in Unix seconds; both are empty if the time
    was over first."""

    state: Literal["approved", "rejected", "timed-out"]
    comment: str = field(default="", repr=False)
    decided_by: Mapping[str, Any] = field(default_factory=dict)
    decided_at: float = 0.0

    @property
    def approved(self) -> bool:
        """Whether a person approved it."""
        return self.state == "approved"

    def __bool__(self) -> bool:
        return self.approved


class StepError(Exception):
    """A step of a durable run that failed. `type` is the name of the error's class, and its text is the error's. A
    durable run gets the same error when it goes on after a crash."""

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - the member of a run record has this name
        super().__init__(message)
        self.type = type


class NotDurable(RuntimeError):
    """A run that is not durable cannot wait: `@workflow(durable=True)`."""
