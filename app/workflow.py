"""What may be run: the author's API. `@workflow` makes a Workflow, which is a value: nothing is registered.

The catalog collects the Workflow values of the modules in the folder; the runner calls their functions with a Context.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, overload

from starlette.datastructures import Headers, QueryParams

from app.access import Access, Anonymous, SpecificUsers, TenantUsers, tenant_users
from app.called import Outgoing
from app.chain import Chain, Part, key_of_call, part_of
from app.errors import checked_headers
from app.retry import CALL_RETRY, DEFAULT_RETRY, Retry
from app.signature import BodyParameter, PathParameter, WorkflowFault, parameters_of, path_segments_of
from app.trace import Trace, trace_id_of, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from httpx2 import AsyncClient
    from structlog.typing import FilteringBoundLogger

    from app.access import Caller

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DEFAULT_TIMEOUT = 120.0
"""Seconds; Logic Apps' limit for a synchronous reply."""

KEY = re.compile(r"[!#-~][!-~]{0,254}")
"""An Idempotency-Key that needs no quotes."""

WORKFLOW_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

T = TypeVar("T")


@dataclass(eq=False)  # not frozen: one is made for each request, and freezing costs more than the rest of it
class Request:
    """The request that triggered the run, as its author sees it.

    `path_parameters` are the texts between the slashes; the function's own parameters get them converted. `body` is
    what was sent, byte for byte. Behind an authenticated trigger `headers` has neither Authorization nor cookies.
    `trace` is what its `traceparent` said, None where there was no valid one; `chain` what it said of the call that it
    is, None where it is no call of a run.
    """

    method: str
    path: str
    path_parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_address: str = ""
    body: bytes = field(default=b"", repr=False)
    query_string: bytes = field(default=b"", repr=False)
    _raw_headers: "Sequence[tuple[bytes, bytes]]" = field(default=(), repr=False)
    _withheld: frozenset[bytes] = field(default=frozenset(), repr=False)
    content_type: str = ""
    trace: Trace | None = field(default=None, repr=False)
    chain: Chain | None = field(default=None, repr=False)

    @cached_property
    def headers(self) -> Headers:
        """The header fields, looked up without regard to case."""
        return Headers(raw=[each for each in self._raw_headers if each[0] not in self._withheld])

    @cached_property
    def query(self) -> QueryParams:
        """The parameters of the query string; `getlist(name)` gives all of one name."""
        return QueryParams(self.query_string)

    @property
    def text(self) -> str:
        """The body as text in UTF-8; what is not UTF-8 is replaced by U+FFFD."""
        return self.body.decode("utf-8", "replace")


class Reply:
    """An answer with a status and headers of the author's own: `return Reply(201, {"id": 7}, {"Location": "/x"})`.

    `status` is 2xx, 4xx or 5xx (Logic Apps allows no 3xx either). `body` is anything that pydantic can write as JSON,
    or bytes, which are sent as they are (with `Content-Type: application/octet-stream` unless `headers` say otherwise).
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        if not isinstance(status, int) or not (200 <= status <= 299 or 400 <= status <= 599):
            raise ValueError(f"a Reply has a status of 2xx, 4xx or 5xx, not {status!r}")
        self.status = status
        self.body = body
        self.headers = checked_headers(headers)


async def _plainly(
    ctx: "Context", number: int, function: Callable[..., Any], args: tuple[Any, ...], retry: Retry, name: str
) -> Any:
    """A step where nobody keeps records, as in a test of a workflow: one plain call."""
    value = function(*args)
    return await value if inspect.isawaitable(value) else value


async def _nowhere(ctx: "Context", outgoing: Outgoing) -> Any:
    """A call where there is no server, as in a test of a workflow."""
    raise LookupError(f"nothing is there to call {outgoing.trigger}: give Services a call=")


@dataclass(frozen=True, slots=True)
class Services:
    """What a Context hands on to: plain callables that `main.py` puts together."""

    secret: Callable[[str], Awaitable[str]]
    connection: Callable[[str], "AsyncClient"]
    log: "FilteringBoundLogger"
    step: Callable[["Context", int, Callable[..., Any], tuple[Any, ...], Retry, str], Awaitable[Any]] = _plainly
    call: Callable[["Context", Outgoing], Awaitable[Any]] = _nowhere


@dataclass(eq=False)
class Context:
    """What a workflow receives first: who called, with what, and what it may reach."""

    request: Request
    caller: "Caller"
    run_id: str
    workflow: str
    services: Services = field(repr=False)
    recorded: bool = field(default=True, repr=False)
    _steps = 0
    _calls = 0

    @cached_property
    def _part(self) -> Part:
        return Part(self.run_id)

    @cached_property
    def log(self) -> "FilteringBoundLogger":
        """A structured log that already names the workflow, the run and its trace:
        `ctx.log.info("booked", seats=3)`."""
        return self.services.log.bind(workflow=self.workflow, run_id=self.run_id, trace_id=self.trace_id)

    @property
    def trace_id(self) -> str:
        """The trace that the run belongs to (W3C Trace Context), in 32 hexadecimal digits: the caller's, or one of its
        own."""
        return trace_id_of(self.run_id, self.request.trace)

    @property
    def traceparent(self) -> str:
        """The `traceparent` header for calls to other systems. Calls through `ctx.connection` have it already."""
        return traceparent(self.run_id, self.request.trace)

    async def secret(self, name: str) -> str:
        """The value of a secret of the Key Vault. Keep it out of logs and replies."""
        return await self.services.secret(name)

    def connection(self, name: str) -> "AsyncClient":
        """An HTTP client for `[connections.NAME]` of `postern.toml`, which knows the address and how to sign in.
        It is shared: do not close it."""
        return self.services.connection(name)

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

        What is worth it is tried again by the policy: connections that fail, timeouts, and answers of 408, 429 and 5xx
        (of httpx's `raise_for_status`, or any error with such a `.status`), after the `Retry-After` of such an answer.
        The function has to bear being called twice. It is `async def`, or `def`, which runs in a thread. What it
        returns is handed back, and its last error is raised as it was.

        The step is on record with its attempts and times, under the function's name or `name`: keep values out of it.
        """
        if not callable(function):
            raise TypeError(
                f"ctx.step takes a function and its arguments, not {type(function).__name__}: do not call it"
            )
        if not isinstance(retry, Retry):
            raise TypeError("retry= takes a Retry(...)")
        self._steps += 1
        return await self.services.step(self, self._steps, function, args, retry, name or "")

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
        """Call another trigger and give its result: `await ctx.call("approve-leave", {"days": 3})`.

        `trigger` is an entry `[triggers.NAME]` of `postern.toml`, else a workflow of this server, which is called over
        HTTP with Postern's own identity. `body` is anything that pydantic can write as JSON, or bytes, which are sent
        as they are. `path` is the relative path behind the trigger's URL. The result is the reply: parsed JSON, text,
        bytes, or None where it has no content. One that comes later (202) is waited for within this workflow's timeout;
        with `wait=False` a Handle is given instead.

        What did not arrive, or was put off, is tried again by `retry`. The call has an Idempotency-Key of its own, made
        of the run, the step and its number there, so that a step that is repeated does not trigger twice where the
        other side keeps to it, as a Postern does. Raises CallError where there is no result.
        """
        if not isinstance(trigger, str):
            raise TypeError(f"ctx.call takes the name of a trigger, not {type(trigger).__name__}")
        if method not in METHODS:
            raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")
        if not isinstance(retry, Retry):
            raise TypeError("retry= takes a Retry(...)")
        if idempotency_key is not None and not KEY.fullmatch(idempotency_key):
            raise ValueError("idempotency_key= takes 1 to 255 visible ASCII characters, the first no quotation mark")
        trigger = str.__str__(trigger)  # an enum's member means nothing to the process that writes records
        part = part_of(self.run_id, self._part)
        part.calls += 1
        self._calls += 1
        key = idempotency_key or key_of_call(part, trigger)
        outgoing = Outgoing(
            trigger, body, path, method, wait, retry, self._calls, part.step, key, own_key=idempotency_key is not None
        )
        return await self.services.call(self, outgoing)


@dataclass(frozen=True, slots=True)
class Workflow:
    """What may be run, and by whom. Made by `@workflow`; calling it calls the author's function."""

    name: str
    function: Callable[..., Any]
    access: Access
    methods: tuple[str, ...]
    path: str
    timeout: float
    stateless: bool
    secure_inputs: bool
    secure_outputs: bool
    max_concurrency: int | None
    max_body_bytes: int | None
    body: BodyParameter | None
    path_parameters: tuple[PathParameter, ...]
    is_async: bool
    line: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The author's function itself, so that a test of a workflow needs no server."""
        return self.function(*args, **kwargs)

    @property
    def secures(self) -> bool:
        """Whether any body of its runs is kept out of records."""
        return self.secure_inputs or self.secure_outputs

    @property
    def description(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def path_segments(self) -> tuple[str, ...]:
        """The relative path between its slashes, parameters in braces; () where there is none."""
        return tuple(self.path.split("/")[1:])


@overload
def workflow(function: Callable[..., Any], /) -> Workflow: ...
@overload
def workflow(
    *,
    access: Access = ...,
    name: str | None = None,
    methods: "Iterable[str]" = ("POST",),
    path: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    durable: bool = False,
    stateless: bool = False,
    secure_inputs: bool = False,
    secure_outputs: bool = False,
    max_concurrency: int | None = None,
    max_body_bytes: int | None = None,
) -> Callable[[Callable[..., Any]], Workflow]: ...


def workflow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    access: Access | None = None,
    name: str | None = None,
    methods: "Iterable[str]" = ("POST",),
    path: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    durable: bool = False,
    stateless: bool = False,
    secure_inputs: bool = False,
    secure_outputs: bool = False,
    max_concurrency: int | None = None,
    max_body_bytes: int | None = None,
) -> Workflow | Callable[[Callable[..., Any]], Workflow]:
    """Make a workflow of a function: `async def` runs on the event loop, `def` in a thread.

    The function's first parameter is the Context. A second one is the body, validated against its annotation. Further
    ones are named in `path`. What it returns is the reply: anything that pydantic can write as JSON, or a Reply.

    `access`: who may come in; any user or application of the tenant when nothing is said. `name`: in the trigger's
    URL; the function's name with `_` as `-` when nothing is said. `methods`: of GET, POST, PUT, PATCH, DELETE. `path`:
    the relative path behind the name, `/orders/{order_id}`. `timeout`: seconds until the run is cancelled and the
    caller gets a 504. `stateless`: no run is recorded. `secure_inputs`, `secure_outputs`: keep bodies out of records.
    `max_concurrency`: runs at a time, the next gets a 429. `max_body_bytes`: in place of POSTERN_MAX_BODY_BYTES.
    `durable`: not available yet.

    Raises WorkflowFault where something of this does not fit together.
    """
    if durable:
        raise WorkflowFault("durable=True: durable runs are not available yet; leave the option out")

    def make(function: Callable[..., Any]) -> Workflow:
        if not inspect.isfunction(function):
            raise WorkflowFault(f"@workflow goes on a function, not on {type(function).__name__}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise WorkflowFault(f"{function.__name__}() yields: a workflow returns its reply as a whole")
        segments = path_segments_of(path)
        body, path_parameters = parameters_of(function, segments)
        return Workflow(
            name=_name(name, function),
            function=function,
            access=_access(access),
            methods=_methods(methods),
            path=path,
            timeout=_positive("timeout", timeout),
            stateless=stateless,
            secure_inputs=secure_inputs,
            secure_outputs=secure_outputs,
            max_concurrency=_positive_whole("max_concurrency", max_concurrency),
            max_body_bytes=_positive_whole("max_body_bytes", max_body_bytes),
            body=body,
            path_parameters=path_parameters,
            is_async=inspect.iscoroutinefunction(function),
            line=inspect.unwrap(function).__code__.co_firstlineno,
        )

    return make if function is None else make(function)


def _name(name: str | None, function: Callable[..., Any]) -> str:
    chosen = function.__name__.replace("_", "-") if name is None else name
    if not isinstance(chosen, str) or not WORKFLOW_NAME.fullmatch(chosen):
        raise WorkflowFault(
            f"{chosen!r} cannot be a part of a URL: a workflow's name has lower-case letters, digits and single "
            'hyphens between them. Rename the function, or say name="..."'
        )
    return chosen


def _access(access: Access | None) -> Access:
    if access is None:
        return tenant_users()
    if not isinstance(access, Anonymous | TenantUsers | SpecificUsers):
        raise WorkflowFault(
            f"access={access!r} is not an access mode: call anonymous(), tenant_users() or specific_users(...)"
        )
    return access


def _methods(methods: "Iterable[str]") -> tuple[str, ...]:
    if isinstance(methods, str):
        raise WorkflowFault(f'methods= takes a list: write methods=["{methods}"]')
    chosen = tuple(methods)
    unknown = [method for method in chosen if method not in METHODS]
    if unknown or not chosen:
        raise WorkflowFault(f"methods={list(chosen)!r}: choose one or more of {', '.join(METHODS)}")
    return tuple(dict.fromkeys(chosen))


def _positive(option: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise WorkflowFault(f"{option}={value!r}: give a number of seconds greater than zero")
    return float(value)


def _positive_whole(option: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise WorkflowFault(f"{option}={value!r}: give a whole number of at least 1, or leave it out")
    return value
