"""Context: the first argument of an author's function."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, overload

from postern.access import Principal, StartedBy, principal_of
from postern.authoring.asked import Asked, wait_name
from postern.authoring.call_result import CallError, CallMistake, Outgoing
from postern.authoring.duration import seconds_of
from postern.authoring.retry_policy import CALL_RETRY, DEFAULT_RETRY, Retry
from postern.authoring.waits import Decision, NotDurable, Signal
from postern.call_chain import Chain, Part, key_of_call, part_of
from postern.trace import trace_id_of, traceparent

if TYPE_CHECKING:
    from httpx2 import AsyncClient
    from structlog.typing import FilteringBoundLogger

    from postern.access import Access, Caller
from postern.authoring.request import METHODS, Request

KEY = re.compile(r"[!#-~][!-~]{0,254}")
"""An Idempotency-Key that needs no quotes."""

T = TypeVar("T")


async def _call_once(
    ctx: "Context", number: int, function: Callable[..., Any], args: tuple[Any, ...], retry: Retry, name: str
) -> Any:
    """A step that is not recorded, as in a test of a workflow: one plain call."""
    value = function(*args)
    return await value if inspect.isawaitable(value) else value


class _NoServer(CallError, LookupError):
    """A call in a test of a workflow, which has no server."""


async def _no_server(ctx: "Context", outgoing: Outgoing) -> Any:
    """A call without a server, as in a test of a workflow."""
    text = f"there is no server to call {outgoing.trigger}: give Services a call="
    raise _NoServer(outgoing.trigger, text, sent=False, final=True)


async def _sleep(ctx: "Context", seconds: float) -> None:
    """A pause of a run that is not durable. It counts for its timeout."""
    await asyncio.sleep(seconds)


async def _no_signal(ctx: "Context", name: str, seconds: float | None) -> Signal | None:
    raise NotDurable("ctx.wait_for needs a durable run: @workflow(durable=True)")


async def _no_approval(ctx: "Context", asked: Asked) -> Decision:
    raise NotDurable("ctx.approval needs a durable run: @workflow(durable=True)")


@dataclass(frozen=True, slots=True)
class Services:
    """The callables that a Context uses, which `assembly` provides."""

    secret: Callable[[str], Awaitable[str]]
    connection: Callable[["Context", str], "AsyncClient"]
    log: "FilteringBoundLogger"
    step: Callable[["Context", int, Callable[..., Any], tuple[Any, ...], Retry, str], Awaitable[Any]] = _call_once
    call: Callable[["Context", Outgoing], Awaitable[Any]] = _no_server
    sleep: Callable[["Context", float], Awaitable[None]] = _sleep
    wait_for: Callable[["Context", str, float | None], Awaitable[Signal | None]] = _no_signal
    approval: Callable[["Context", Asked], Awaitable[Decision]] = _no_approval


class Context:
    """The first argument of a workflow's function: the caller, the request, and the services that it may use.

    What it gives is the run's own, or cannot be changed. So no run can set what another run, a record or a log has."""

    _steps = 0
    _calls = 0
    _secret_of_calls: bytes | None = None

    def __init__(
        self,
        request: Request,
        caller: "Caller",
        run_id: str,
        workflow: str,
        services: Services,
        recorded: bool = True,
        secured: bool = False,
        started_by: StartedBy = StartedBy.UNKNOWN,
    ) -> None:
        self._request = request
        self._caller = caller
        self._run_id = run_id
        self._workflow = workflow
        self._services = services
        self._recorded = recorded
        self._secured = secured
        self._started_by = started_by

    def __repr__(self) -> str:
        return f"Context(run_id={self._run_id!r}, workflow={self._workflow!r}, caller={self._caller!r})"

    @cached_property
    def request(self) -> Request:
        """The request that triggered the run. It is a copy: the record has the request as it came."""
        return self._request.copy()

    @property
    def caller(self) -> "Caller":
        """Who sent the request."""
        return self._caller

    @property
    def run_id(self) -> str:
        """The id of the run, which the reply has as `X-Run-Id`."""
        return self._run_id

    @property
    def workflow(self) -> str:
        """The name of the workflow."""
        return self._workflow

    @property
    def recorded(self) -> bool:
        """Whether the run is recorded: its workflow is not stateless."""
        return self._recorded

    @property
    def secured(self) -> bool:
        """Whether the workflow has `secure_inputs` or `secure_outputs`."""
        return self._secured

    @property
    def chain(self) -> "Chain | None":
        """The run's place in a chain of calls, None if no run called it."""
        return self._request.chain

    @cached_property
    def principal(self) -> Principal:
        """For whom the run may act: whose grants its connections use."""
        return principal_of(self._caller, self._started_by, called=self._request.chain is not None)

    @property
    def client_address(self) -> str:
        """The address of the client, whatever the author does with `request`."""
        return self._request.client_address

    @cached_property
    def _clients(self) -> "dict[str, AsyncClient]":
        return {}

    @cached_property
    def _part(self) -> Part:
        return Part(self.run_id)

    @cached_property
    def log(self) -> "FilteringBoundLogger":
        """A structured log that already names the workflow, the run and its trace:
        `ctx.log.info("booked", seats=3)`."""
        return self._services.log.bind(workflow=self.workflow, run_id=self.run_id, trace_id=self.trace_id)

    @property
    def trace_id(self) -> str:
        """The trace that the run belongs to (W3C Trace Context), in 32 hexadecimal digits: the caller's, or a new
        one."""
        return trace_id_of(self._run_id, self._request.trace)

    @property
    def traceparent(self) -> str:
        """The `traceparent` header for calls to other systems. Calls through `ctx.connection` have it already."""
        return traceparent(self._run_id, self._request.trace)

    @property
    def tracestate(self) -> str:
        """The `tracestate` header for calls to other systems, as the caller sent it; "" for none."""
        trace = self._request.trace
        return trace.state if trace is not None else ""

    async def secret(self, name: str) -> str:
        """The value of a secret of the Key Vault. Keep it out of logs and replies."""
        return await self._services.secret(name)

    def connection(self, name: str) -> "AsyncClient":
        """The run's HTTP client for `[connections.NAME]` of `postern.toml`, with its address and authentication. What
        you set in it, such as `headers`, holds for this run only. It needs no closing."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self._services.connection(self, name)
        return client

    @overload
    async def step(
        self, function: Callable[..., Awaitable[T]], *args: Any, retry: Retry = ..., name: str | None = ...
    ) -> T: ...
    @overload
    async def step(self, function: Callable[..., T], *args: Any, retry: Retry = ..., name: str | None = ...) -> T: ...
    async def step(
        self, function: Callable[..., Any], *args: Any, retry: Retry = DEFAULT_RETRY, name: str | None = None
    ) -> Any:
        """Call a function as a step of the run: `await ctx.step(reserve, room, retry=Retry(count=2))`.

        The policy retries transient errors: failed connections, timeouts, and the statuses 408, 429 and 5xx (from
        httpx's `raise_for_status`, or any error with such a `.status`). A `Retry-After` in the response sets the wait.
        The function may be called more than once, so make it idempotent. It is `async def`, or `def`, which runs in a
        thread. Its return value is returned, and its last error is raised unchanged.

        The step is recorded with its attempts and times, under the function's name or `name`: keep values out of it.
        """
        if not callable(function):
            raise TypeError(
                f"ctx.step takes a function and its arguments, not {type(function).__name__}: do not call it"
            )
        if not isinstance(retry, Retry):
            raise TypeError("retry= takes a Retry(...)")
        self._steps += 1
        return await self._services.step(self, self._steps, function, args, retry, name or "")

    async def call(
        self,
        trigger: str,
        body: Any = None,
        *,
        path: str = "",
        method: str = "POST",
        wait: bool = True,
        idempotency_key: str | None = None,
        retry: Retry = CALL_RETRY,
    ) -> Any:
        """Call another trigger and return its result: `await ctx.call("approve-leave", {"days": 3})`.

        `trigger` is an entry `[triggers.NAME]` of `postern.toml`, else a workflow of this server, which is called over
        HTTP with Postern's own identity. `body` is anything that pydantic can write as JSON, or bytes, which are sent
        unchanged. `path` is the relative path after the trigger's URL. The result is the reply: parsed JSON, text,
        bytes, or None if it has no content. The call waits for an asynchronous result (202) within this workflow's
        timeout. With `wait=False` it returns a Handle instead.

        `retry` is the policy for requests that are known not to have run, because they did not arrive or got 408, or
        429 or 503 with a `Retry-After`. A method that may be repeated, or a key that the other side honours, extends it
        to requests without a response and with 5xx. The call has an Idempotency-Key, made from the run, the step and
        the call's number in it. So a repeated step does not trigger twice if the other side supports the key, as
        Postern does.

        Raises CallError if there is no result, and nothing else. Its text says if the call may have run.
        """
        _check_call(trigger, path, method, idempotency_key, retry)
        trigger = str.__str__(trigger)  # the process that writes records cannot load an author's enum
        part = part_of(self.run_id, self._part)
        part.calls += 1
        self._calls += 1
        secret = self._secret_of_calls
        key = idempotency_key or (key_of_call(part, trigger, secret) if secret else key_of_call(part, trigger))
        outgoing = Outgoing(
            trigger, body, path, method, wait, retry, self._calls, part.step, key, own_key=idempotency_key is not None
        )
        return await self._services.call(self, outgoing)

    async def sleep(self, duration: float | str) -> None:
        """Wait for a time: seconds, or a text such as `"30d"`, `"2h"`, `"15m"`. A durable run waits without a thread, a
        connection or a process, and over restarts. In another run the time counts for its timeout."""
        await self._services.sleep(self, seconds_of(duration, "duration"))

    async def wait_for(self, name: str, timeout: float | str | None = None) -> Signal | None:  # noqa: ASYNC109 - the run may be elsewhere then
        """Wait for a signal of this name, which is sent with `POST /runs/{id}/signals/{name}`: `Signal.body` is its
        JSON. One that was sent before is taken at once, and each is taken once. None if none comes within `timeout`.
        Only a durable run can wait."""
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        return await self._services.wait_for(self, wait_name(name), seconds)

    async def approval(
        self,
        name: str,
        *,
        who: "Access",
        timeout: float | str | None = None,  # noqa: ASYNC109 - the run may be elsewhere then
        data: Any = None,
        self_approval: bool = False,
    ) -> Decision:
        """Wait for a person's decision: `await ctx.approval("manager", who=specific_users("lisa"), timeout="30d")`.

        `who` is the access mode of those who may decide; only people can. `data` is anything that pydantic can write as
        JSON: it is what they see. Without `self_approval` those who caused the run cannot decide. The first decision
        stands. After `timeout` the decision's `state` is `timed-out`. Only a durable run can wait."""
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        return await self._services.approval(self, Asked(wait_name(name), who, seconds, data, self_approval))


def _check_call(trigger: object, path: object, method: object, idempotency_key: object, retry: object) -> None:
    """Raises CallMistake for an argument of `ctx.call` that makes no sense."""
    if not isinstance(trigger, str):
        raise CallMistake("", f"ctx.call takes the name of a trigger, not {type(trigger).__name__}")
    if not isinstance(method, str) or method not in METHODS:
        raise CallMistake(trigger, f"method={method!r}: choose one of {', '.join(METHODS)}")
    if not isinstance(retry, Retry):
        raise CallMistake(trigger, "retry= takes a Retry(...)")
    if not isinstance(path, str):
        raise CallMistake(trigger, f"path= takes a text, not {type(path).__name__}")
    if idempotency_key is not None and not (isinstance(idempotency_key, str) and KEY.fullmatch(idempotency_key)):
        text = "idempotency_key= takes 1 to 255 visible ASCII characters, the first no quotation mark"
        raise CallMistake(trigger, text)
