"""What a call to a trigger is, and what comes of it: a result, a Handle on one that is yet to come, or a CallError."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postern.authoring.retry_policy import Retry

OF_RUNS = frozenset({"workflow-failed", "timed-out", "run-cancelled"})
"""Codes of problems that are what a run came to: to ask again gives another run, or the same again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call as its author wrote it. `number` counts the calls of the run, `step` is the step that it belongs to; `key`
    is its Idempotency-Key, which its author chose where `own_key` says so."""

    trigger: str
    body: Any = field(repr=False)
    path: str
    method: str
    wait: bool
    retry: Retry
    number: int
    step: int | None
    key: str = field(repr=False)
    own_key: bool


@dataclass(slots=True)
class Call:
    """A call of a run, for the record. `run_id` is the run that it came to, "" where none is known; `url` is "" where
    that run is of this server. `status` is None where no answer came; `error` is the type of what was raised."""

    number: int
    step: int | None
    name: str
    started_at: float
    ended_at: float = 0.0
    run_id: str = field(default="", repr=False)
    url: str = ""
    status: int | None = None
    error: str = ""


class CallError(Exception):
    """A call that came to no result. Its message names the entry and what to mend, and nothing that was sent or came
    back.

    `trigger` is `triggers.NAME` or `workflow NAME`; `status` the HTTP status, 0 where no answer came; `problem` what
    the other side said of it, as JSON (RFC 9457, or the `error` of Power Automate), {} where it said nothing that can
    be read; `run_id` the run that it came to there, "" where none is known; `headers` its `Retry-After`.
    """

    def __init__(
        self,
        trigger: str,
        message: str,
        *,
        status: int = 0,
        problem: Mapping[str, Any] | None = None,
        run_id: str = "",
        headers: Mapping[str, str] | None = None,
        ran: bool = False,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.trigger = trigger
        self.status = status
        self.problem = dict(problem or {})
        self.run_id = run_id
        self.headers = dict(headers or {})
        self.ran = ran
        """Whether this is what a run came to, so that to ask again is of no use."""
        self.sent = sent
        """Whether anything may have arrived there."""

    @property
    def code(self) -> str:
        """The code of the problem, "" where there is none."""
        code = self.problem.get("code")
        return code if isinstance(code, str) else ""


class Handle:
    """A call that was taken (202) and has not ended: `ctx.call(..., wait=False)`. Where the other side answered at
    once, `done` is true from the beginning."""

    def __init__(
        self, trigger: str, *, run_id: str, location: str, done: bool, fetch: Callable[[], Awaitable[Any]]
    ) -> None:
        self.trigger = trigger
        self.run_id = run_id
        """The run there, "" where it is not known."""
        self.location = location
        """Where its result will be; it may have a signature in it, so keep it out of logs."""
        self.done = done
        """Whether the result is here."""
        self._fetch = fetch
        self._fetched = False
        self._value: Any = None

    def __repr__(self) -> str:
        return f"Handle(trigger={self.trigger!r}, done={self.done})"

    async def result(self) -> Any:
        """The result, waited for where it is not there yet. Raises CallError."""
        if not self._fetched:
            self._value = await self._fetch()
            self.done = self._fetched = True
        return self._value
