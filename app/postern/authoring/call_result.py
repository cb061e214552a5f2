"""A call to a trigger, and its outcome: a result, a Handle on a later result, or a CallError."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postern.authoring.retry_policy import Retry

OF_RUNS = frozenset({"workflow-failed", "timed-out", "run-cancelled"})
"""Codes of problems that are the outcome of a run: repeating the request gives another run, or the same outcome."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call as its author wrote it. `number` counts the calls of the run. `step` is the number of its step. `key` is
    its Idempotency-Key; `own_key` says that the author chose it."""

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
    """A call of a run, for the record, or a request of it by a gateway. `run_id` is the run that it started, "" if that
    is not known. `url` is "" if that run is on this server. `status` is None if there was no response. `error` is the
    type of the exception. `gateway` and `agent` are those by which it was sent, "" for none. `requests` is set for
    further requests that have no record of their own: how many they are."""

    number: int
    step: int | None
    name: str
    started_at: float
    ended_at: float = 0.0
    run_id: str = field(default="", repr=False)
    url: str = ""
    status: int | None = None
    error: str = ""
    gateway: str = ""
    agent: str = ""
    requests: int | None = None


class CallError(Exception):
    """A call without a result. The message names the entry and says how to fix the problem. It contains nothing of the
    request or the response.

    `trigger` is `triggers.NAME` or `workflow NAME`. `status` is the HTTP status, 0 if there was no response. `problem`
    is the error document of the other side, as JSON (RFC 9457, or the `error` of Power Automate), {} if there is none
    that can be read. `run_id` is the run that the call started there, "" if that is not known. `headers` has the
    response's `Retry-After`. Everything that `ctx.call` raises is a CallError.
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
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.trigger = trigger
        self.status = status
        self.problem = dict(problem or {})
        self.run_id = run_id
        self.headers = dict(headers or {})
        self.ran = ran
        """Whether this is the outcome of a run, so that a retry is of no use."""
        self.sent = sent
        """Whether the request may have arrived there."""
        self.final = final or ran
        """Whether it is of no use to repeat the call soon: it is the outcome of a run, something has to be corrected,
        or there is no credential for it."""

    @property
    def code(self) -> str:
        """The code of the problem, "" if there is none."""
        code = self.problem.get("code")
        return code if isinstance(code, str) else ""


class CallMistake(CallError, TypeError, ValueError):
    """A call that cannot be made as it is written: an argument to correct. Nothing was sent. It is the built-in error
    for such an argument too."""

    def __init__(self, trigger: str, message: str) -> None:
        super().__init__(trigger, message, sent=False, final=True)


class Handle:
    """A call that was accepted (202) and has not ended: `ctx.call(..., wait=False)`. If the first response has the
    result, `done` is true from the beginning."""

    def __init__(
        self,
        trigger: str,
        *,
        run_id: str,
        location: str,
        done: bool,
        fetch: Callable[[], Awaitable[Any]],
        operation: bool = False,
    ) -> None:
        self.trigger = trigger
        self.run_id = run_id
        """The run there, "" if it is not known."""
        self.location = location
        """The URL of the result. It may contain a signature, so keep it out of logs."""
        self.done = done
        """Whether the result has arrived."""
        self.operation = operation
        """Whether the location has a document that says how far the work is."""
        self._fetch = fetch
        self._fetched = False
        self._value: Any = None

    def __repr__(self) -> str:
        return f"Handle(trigger={self.trigger!r}, done={self.done})"

    async def result(self) -> Any:
        """Wait for the result and return it. Raises CallError."""
        if not self._fetched:
            self._value = await self._fetch()
            self.done = self._fetched = True
        return self._value
