"""Workflows, in the authors' API. `@workflow` makes a Workflow, which is a value: nothing is registered.

The catalog collects the Workflow values of the modules in the folder. The runner calls their functions with a Context.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Any, overload

from postern.access import Access, Anonymous, SpecificUsers, TenantUsers, tenant_users
from postern.authoring.advice import of_access, of_decorated, of_name, shown
from postern.authoring.author_code import runs_code
from postern.authoring.by_server import WORKFLOW_NAME, by_server, unfit_to_be_started
from postern.authoring.concurrency import KeyFunction, check_singleton_time, limits_of
from postern.authoring.duration import seconds_of
from postern.authoring.form_type import FormType, load_parser
from postern.authoring.reach import networks_of, origins_of
from postern.authoring.result import ResultType, result_type
from postern.authoring.schedule import Missed, Schedule, schedule_of
from postern.authoring.signature import (
    BodyParameter,
    PathParameter,
    RequestParameter,
    WorkflowFault,
    adapters_of,
    hints_of,
    parameters_of,
    path_segments_of,
)
from postern.authoring.tool import Tool, tool_of
from postern.authoring.uses import Names, declared_names

if TYPE_CHECKING:
    from collections.abc import Iterable

from postern.authoring.request import METHODS

DEFAULT_TIMEOUT = 120.0
"""Seconds; Logic Apps' limit for a synchronous reply."""

MAX_ELEMENTS = 10_000
"""Elements of a body. So many take about 10 ms of the event loop, whatever their types."""

MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9!#$&^_.+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Workflow:
    """A function with its access mode and options. Made by `@workflow`; calling it calls the author's function.

    `reads_at_once` is True if the body and the path are all that its arguments are made of, on the event loop.
    `reads_in_thread` is for `def` workflows whose types run the author's code when they validate. `result` is None if
    results are not validated. `connections` and `secrets` are None if any may be used. `networks` are those that
    requests may come from, () for any. `origins` are those whose pages may read replies in a browser (CORS). `timeout`
    is in seconds, infinite for none. `signals` is who may send signals to runs, None for their callers and
    operators. `parameters` are those of the query and the header, `form` is the type of a form, None for JSON, and
    `produces` the media type of replies in OpenAPI, "" for JSON. `schedule` is None if it starts by requests only.
    `on_failure` is the name of the workflow that is notified of failed runs, "" for none. With a `concurrency_key`,
    `max_concurrency` holds for each key. `keyed` is True if the place of a run depends on more than its workflow: on
    its key, or on other server processes. `tool` is None if agents do not get it as a tool."""

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
    reads_in_thread: bool = False
    max_elements: int = MAX_ELEMENTS
    result: ResultType | None = None
    connections: Names | None = None
    secrets: Names | None = None
    networks: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    durable: bool = False
    signals: Access | None = None
    parameters: tuple[RequestParameter, ...] = ()
    form: FormType | None = None
    schedule: Schedule | None = None
    on_failure: str = ""
    concurrency_key: KeyFunction | None = None
    singleton: bool = False
    keyed: bool = False
    produces: str = ""
    reads_at_once: bool = False
    tool: Tool | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the author's function itself, so that a test of a workflow needs no server."""
        return self.function(*args, **kwargs)

    @property
    def unfit_to_be_started(self) -> str:
        """Why the server cannot start it with a body, as a sentence without its full stop; "" if it can."""
        return unfit_to_be_started(self.methods, self.path, stateless=self.stateless)

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
        """The relative path between its slashes, parameters in braces; () if there is none."""
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
    timeout: float | str | None = None,
    durable: bool = False,
    signals: Access | None = None,
    schedule: str | None = None,
    timezone: str | None = None,
    missed: Missed | None = None,
    on_failure: str | None = None,
    stateless: bool = False,
    secure_inputs: bool = False,
    secure_outputs: bool = False,
    max_concurrency: int | None = None,
    concurrency_key: "KeyFunction | None" = None,
    singleton: bool = False,
    max_body_bytes: int | None = None,
    max_elements: int = MAX_ELEMENTS,
    connections: "Iterable[str] | None" = ...,
    secrets: "Iterable[str] | None" = ...,
    networks: "Iterable[str] | None" = ...,
    origins: "Iterable[str] | None" = ...,
    produces: str = "",
    tool: bool | Tool = False,
) -> Callable[[Callable[..., Any]], Workflow]: ...
def workflow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    access: Access | None = None,
    name: str | None = None,
    methods: "Iterable[str]" = ("POST",),
    path: str = "",
    timeout: float | str | None = None,
    durable: bool = False,
    signals: Access | None = None,
    schedule: str | None = None,
    timezone: str | None = None,
    missed: Missed | None = None,
    on_failure: str | None = None,
    stateless: bool = False,
    secure_inputs: bool = False,
    secure_outputs: bool = False,
    max_concurrency: int | None = None,
    concurrency_key: "KeyFunction | None" = None,
    singleton: bool = False,
    max_body_bytes: int | None = None,
    max_elements: int = MAX_ELEMENTS,
    connections: "Iterable[str] | None" = None,
    secrets: "Iterable[str] | None" = None,
    networks: "Iterable[str] | None" = None,
    origins: "Iterable[str] | None" = None,
    produces: str = "",
    tool: bool | Tool = False,
) -> Workflow | Callable[[Callable[..., Any]], Workflow]:
    """Make a workflow of a function: `async def` runs on the event loop, `def` in a thread. The first parameter is the
    Context. A second one is the body, validated against its annotation. Further ones are named in `path`. The return
    value is the reply: anything that fits the return annotation, or a Reply.

    `access` is by default `tenant_users()`: any user or application of the tenant. See `authoring/README.md`.
    Raises WorkflowFault if the options or the function are not valid."""
    lasting = _lasting(timeout, durable, stateless, signals)
    lasting |= _limits(max_concurrency, concurrency_key, singleton, stateless, lasting)
    when = schedule_of(schedule, timezone, missed)

    def make(function: Callable[..., Any]) -> Workflow:
        _check_function(function)
        own_name = _name(name, function)
        return Workflow(
            name=own_name,
            function=function,
            **_entry(access, networks, origins),
            methods=(chosen := _methods(methods)),
            path=path,
            secure_inputs=secure_inputs,
            secure_outputs=secure_outputs,
            **_bounds(max_body_bytes, max_elements),
            **_declared(connections, secrets, produces),
            **lasting,
            **by_server(function, when, own_name, on_failure, stateless=stateless),
            **(parts := _signature(function, path)),
            tool=tool_of(tool, function, own_name, chosen, access, parts),
        )

    return make if function is None else make(function)


def _entry(access: Access | None, networks: "Iterable[str] | None", origins: "Iterable[str] | None") -> dict[str, Any]:
    """Who may call the workflow, and from where."""
    mode, within = _access(access), networks_of(networks)
    return {"access": mode, "networks": within, "origins": origins_of(origins, mode, within)}


def _limits(most: int | None, key: Any, singleton: bool, stateless: bool, lasting: dict[str, Any]) -> dict[str, Any]:
    """How many runs may be at the same time."""
    check_singleton_time(lasting["timeout"], singleton=singleton, durable=lasting["durable"])
    return limits_of(_positive_whole("max_concurrency", most), key, singleton=singleton, stateless=stateless)


def _bounds(body_bytes: int | None, elements: int) -> dict[str, Any]:
    """How large bodies may be."""
    return {
        "max_body_bytes": _positive_whole("max_body_bytes", body_bytes),
        "max_elements": _positive_whole("max_elements", elements) or MAX_ELEMENTS,
    }


def _signature(function: Callable[..., Any], path: str) -> dict[str, Any]:
    """What the function's parameters and annotations say of its workflow."""
    segments = path_segments_of(path)
    hints = hints_of(function)
    body, path_parameters, parameters = parameters_of(function, segments, hints)
    is_async = inspect.iscoroutinefunction(function)
    form = body.form if body is not None else None
    if form is not None:
        load_parser()
    in_thread = not is_async and any(map(runs_code, adapters_of(body, (*path_parameters, *parameters))))
    return {
        "body": body,
        "form": form,
        "path_parameters": path_parameters,
        "parameters": parameters,
        "is_async": is_async,
        "line": inspect.unwrap(function).__code__.co_firstlineno,
        "reads_at_once": form is None and not parameters and not in_thread,
        "reads_in_thread": in_thread,
        "result": result_type(hints.get("return", Any)),
    }


def _lasting(timeout: float | str | None, durable: bool, stateless: bool, signals: Access | None) -> dict[str, Any]:
    """How long a run may take, whether it is durable, and who may send signals to it."""
    if not durable and signals is not None:
        raise WorkflowFault("signals= needs durable=True: other runs do not wait for signals")
    if durable and stateless:
        raise WorkflowFault("durable=True and stateless=True exclude each other: a durable run is on record")
    if durable and find_spec("dbos") is None:
        raise WorkflowFault("durable=True needs the package dbos: install postern-workflows[durable]")
    who = None if signals is None else _signals(signals)
    return {"timeout": _timeout(timeout, durable), "durable": durable, "signals": who, "stateless": stateless}


def _check_function(function: Any) -> None:
    if not inspect.isfunction(function):
        what = f"{type(function).__name__}{of_decorated(function)}"
        raise WorkflowFault(f"@workflow decorates a function, not {what}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise WorkflowFault(f"{function.__name__}() yields: return Reply.stream(...) of an inner generator")


def _name(name: str | None, function: Callable[..., Any]) -> str:
    chosen = function.__name__.replace("_", "-") if name is None else name
    if not isinstance(chosen, str) or not WORKFLOW_NAME.fullmatch(chosen):
        raise WorkflowFault(
            f"{chosen!r} cannot be a part of a URL: a workflow's name has lower-case letters, digits and single "
            f'hyphens between them. Rename the function, or set name="{of_name(chosen) or "..."}"'
        )
    return chosen


def _access(access: Access | None) -> Access:
    if access is None:
        return tenant_users()
    if not isinstance(access, Anonymous | TenantUsers | SpecificUsers):
        raise WorkflowFault(f"access={shown(access)} is not an access mode: {of_access(access)}")
    return access


def _signals(signals: Access) -> Access:
    mode = _access(signals)
    if isinstance(mode, Anonymous) and (mode.signed or mode.signed_by is not None):
        raise WorkflowFault("signals=: a signal has no signed URL and no signature of a sender: choose another mode")
    return mode


def _methods(methods: "Iterable[str]") -> tuple[str, ...]:
    if isinstance(methods, str):
        raise WorkflowFault(f'methods= takes a list: write methods=["{methods}"]')
    chosen = tuple(methods)
    unknown = [method for method in chosen if method not in METHODS]
    if unknown or not chosen:
        meant = [method.upper() for method in chosen if isinstance(method, str) and method.upper() in METHODS]
        write = f". Write methods={meant!r}" if chosen and len(meant) == len(chosen) else ""
        raise WorkflowFault(f"methods={list(chosen)!r}: choose one or more of {', '.join(METHODS)}{write}")
    return tuple(dict.fromkeys(chosen))


def _declared(connections: "Iterable[str] | None", secrets: "Iterable[str] | None", produces: str) -> dict[str, Any]:
    """What an author declares of the function beside its annotations."""
    names = {"connections": declared_names("connections", connections), "secrets": declared_names("secrets", secrets)}
    return {**names, "produces": _media_type(produces)}


def _media_type(produces: str) -> str:
    if produces and not (isinstance(produces, str) and MEDIA_TYPE.fullmatch(produces)):
        raise WorkflowFault(f"produces={produces!r}: write a media type, such as text/csv or text/event-stream")
    return produces


def _timeout(timeout: float | str | None, durable: bool) -> float:
    if timeout is None:
        return inf if durable else DEFAULT_TIMEOUT
    try:
        seconds = seconds_of(timeout, "timeout")
    except ValueError as error:
        raise WorkflowFault(str(error)) from None
    if not seconds:
        raise WorkflowFault(f"timeout={timeout!r}: give a number of seconds greater than zero")
    return seconds


def _positive_whole(option: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise WorkflowFault(f"{option}={value!r}: give a whole number of at least 1, or leave it out")
    return value
