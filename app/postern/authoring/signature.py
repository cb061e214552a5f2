"""The parameters of a workflow's function: which one is the body, and which are parts of the path, the query and the
header."""

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from postern.authoring.advice import (
    misplaced_context,
    of_annotation,
    of_parameter,
    of_segment,
    part_of_path,
    shown,
    wraps,
)
from postern.authoring.context import Context
from postern.authoring.form_type import FormType, Shape, form_type, has_fields, has_files, shape_of
from postern.authoring.inputs import Form, Header, Query, UploadFile
from postern.authoring.type_faults import fault_of
from postern.authoring.validators import Validators, validators_of

_PLAIN = (dict, list, tuple, set, str, bytes, int, float)
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9_.~-]+")
_PATH_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization")
_AS_A_FORM = "write `Annotated[Order, Form()]` with `from postern import Form`, where Order is a model or dataclass"


class WorkflowFault(ValueError):
    """A workflow that is not valid. The message says what is wrong and how to fix it."""


@dataclass(frozen=True, slots=True)
class BodyParameter:
    """The parameter that takes the body. `adapter` and `validators` are None if it has no annotation: the argument is
    then parsed JSON. For any other body it is the parameter's default (`ctx.request.body` has the bytes). `form` is
    None if it takes JSON."""

    name: str
    adapter: TypeAdapter[Any] | None
    validators: Validators | None
    required: bool
    form: FormType | None = None


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A parameter that takes a part of the relative path, converted to its annotation."""

    name: str
    adapter: TypeAdapter[Any]
    validators: Validators


@dataclass(frozen=True, slots=True)
class RequestParameter:
    """A parameter that takes a parameter of the query, or a header field: `place` is `query` or `header`, and `sent`
    its name there, of a header in lower case. `required` if the function has no default for it."""

    name: str
    place: str
    sent: str
    shape: Shape
    adapter: TypeAdapter[Any]
    validators: Validators
    required: bool


def path_segments_of(path: str) -> tuple[str, ...]:
    """The relative path between its slashes. Raises WorkflowFault if it is not a valid path."""
    if path == "":
        return ()
    if not isinstance(path, str) or not path.startswith("/"):
        raise WorkflowFault(f"path={path!r}: a relative path begins with a slash, like /orders/{{order_id}}")
    segments = tuple(path.split("/")[1:])
    for segment in segments:
        plain = _PATH_SEGMENT.fullmatch(segment) and segment not in (".", "..")
        if not plain and not _PATH_PARAMETER.fullmatch(segment):
            raise WorkflowFault(
                f"path={path!r}: {segment!r} is neither a plain word nor one parameter in braces. No part may be empty"
                f"{of_segment(segment)}"
            )
    return segments


Parameters = tuple[BodyParameter | None, tuple[PathParameter, ...], tuple[RequestParameter, ...]]


def parameters_of(function: Callable[..., Any], segments: tuple[str, ...], hints: Mapping[str, Any]) -> Parameters:
    """Which parameter takes the body, and which take the parts of the path, the query and the header. `hints` are the
    function's annotations. Raises WorkflowFault if that is not clear."""
    in_path = [found[1] for segment in segments if (found := _PATH_PARAMETER.fullmatch(segment))]
    if len(set(in_path)) != len(in_path):
        raise WorkflowFault(f"path: {'/'.join(segments)!r} has a parameter twice")
    parameters = list(inspect.signature(function).parameters.values())
    _check_context(function, parameters, in_path, hints)
    body: BodyParameter | None = None
    converted: dict[str, PathParameter] = {}
    requested: list[RequestParameter] = []
    for position, parameter in enumerate(parameters[1:], start=1):
        _check_kind(function, parameter)
        name = parameter.name
        marker = _marker(name, hints.get(name), parameter.default)
        if name in in_path:
            if marker is not None:
                raise WorkflowFault(
                    f"{name!r} is a part of path=: leave {type(marker).__name__}() out of its annotation"
                )
            of_path = _adapter(name, hints.get(name, str))
            converted[name] = PathParameter(name, of_path, validators_of(of_path))
        elif isinstance(marker, Query | Header):
            requested.append(_requested(parameter, marker, hints[name]))
        elif position == 1 or (isinstance(marker, Form) and body is None):
            body = _body(parameter, marker, hints)
        else:
            unclaimed = [each for each in in_path if each not in hints and each not in converted]
            data = marker is not None or _is_data(hints.get(name))
            raise WorkflowFault(
                f"{function.__name__}() has a parameter {name!r} that is neither the body (the second one) nor in "
                f"path=: {of_parameter(name, function.__name__, unclaimed, body.name if body else '', data=data)}"
            )
    if body and (meant := part_of_path(body.name, hints, [each for each in in_path if each not in converted])):
        raise WorkflowFault(
            f"no parameter of {function.__name__}() takes {{{meant}}} of path=, and {body.name!r} would be the body: "
            f"rename it to {meant!r}, as in path="
        )
    _check_different(requested)
    return body, tuple(converted[name] for name in in_path if name in converted), tuple(requested)


def _check_context(
    function: Callable[..., Any],
    parameters: list[inspect.Parameter],
    in_path: list[str],
    hints: Mapping[str, Any],
) -> None:
    variadic = (
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    if not parameters or parameters[0].kind in variadic or parameters[0].name in in_path:
        made = "make its first parameter `ctx: Context`"
        raise WorkflowFault(f"{function.__name__}() takes no context: {made}{wraps(parameters)}")
    if wrong := misplaced_context(function.__name__, parameters, hints):
        raise WorkflowFault(wrong)
    first = parameters[0]
    if _is_body(hints.get(first.name)) or _marker(first.name, hints.get(first.name), first.default) is not None:
        raise WorkflowFault(
            f"the first parameter of {function.__name__}() is the Context, not the body: write "
            f"`{function.__name__}(ctx: Context, {first.name}: ...)`"
        )


def _check_kind(function: Callable[..., Any], parameter: inspect.Parameter) -> None:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise WorkflowFault(f"{function.__name__}() takes *args or **kwargs: name its parameters one by one")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise WorkflowFault(f"{function.__name__}(): leave out the `/` among its parameters")


def _marker(name: str, annotation: Any, default: Any) -> Form | Query | Header | None:
    """What the annotation says of the place where a parameter's value is in the request; None for JSON or the path."""
    kinds = (Form, Query, Header)
    if isinstance(default, kinds) or default in kinds:
        kind = default.__name__ if isinstance(default, type) else type(default).__name__
        raise WorkflowFault(f"{name!r}: write `{name}: Annotated[..., {kind}()]`, and the default behind `=`")
    found = [each() if each in kinds else each for each in getattr(annotation, "__metadata__", ())]
    markers = [each for each in found if isinstance(each, kinds)]
    if len(markers) > 1:
        raise WorkflowFault(f"{name!r} has several places in the request: choose one of Form(), Query() and Header()")
    return markers[0] if markers else None


def _body(parameter: inspect.Parameter, marker: Any, hints: Mapping[str, Any]) -> BodyParameter:
    name = parameter.name
    adapter = _adapter(name, hints[name]) if name in hints else None
    required = parameter.default is inspect.Parameter.empty
    validators = validators_of(adapter) if adapter else None
    if not isinstance(marker, Form):
        if adapter is not None and has_files(adapter):
            raise WorkflowFault(f"{name!r} has an UploadFile, which only a form can carry: {_AS_A_FORM}")
        return BodyParameter(name, adapter, validators, required)
    for option, value in (("max_files", marker.max_files), ("max_fields", marker.max_fields)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise WorkflowFault(f"{name!r}: Form({option}={value!r}) is no whole number of at least 0")
    form = form_type(adapter, marker) if adapter is not None else None
    if form is None:
        raise WorkflowFault(f"{name!r} is a form, and its type has no fields: {_AS_A_FORM}, a dataclass or a TypedDict")
    return BodyParameter(name, adapter, validators, required, form)


def _requested(parameter: inspect.Parameter, marker: Query | Header, annotation: Any) -> RequestParameter:
    name, place = parameter.name, type(marker).__name__.lower()
    sent = marker.alias or (name.replace("_", "-") if place == "header" else name)
    if not isinstance(sent, str) or (place == "header" and not _HEADER_NAME.fullmatch(sent)):
        raise WorkflowFault(f"{name!r}: {sent!r} is not a name of a {'header field' if place == 'header' else place}")
    sent = sent.lower() if place == "header" else sent
    if place == "header" and sent in _CREDENTIALS:
        raise WorkflowFault(
            f"{name!r} asks for the header {sent}: credentials never reach a workflow. `ctx.caller` says who called, "
            "and ctx.connection() signs in to other systems"
        )
    adapter = _adapter(name, annotation)
    if has_files(adapter) or has_fields(adapter):
        raise WorkflowFault(f"{name!r} takes texts of the {place}: annotate it with str, int, list[str] and the like")
    required = parameter.default is inspect.Parameter.empty
    return RequestParameter(name, place, sent, shape_of(adapter), adapter, validators_of(adapter), required)


def _check_different(requested: list[RequestParameter]) -> None:
    seen: set[tuple[str, str]] = set()
    for each in requested:
        if (each.place, each.sent) in seen:
            raise WorkflowFault(f"two parameters take {each.sent!r} of the {each.place}: give one another alias=")
        seen.add((each.place, each.sent))


def without_default(function: Callable[..., Any]) -> str:
    """The first parameter after the Context that a call without a request cannot give, "" if all have defaults."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return next((each.name for each in parameters if each.default is inspect.Parameter.empty), "")


def adapters_of(
    body: BodyParameter | None, others: Iterable[PathParameter | RequestParameter]
) -> list[TypeAdapter[Any]]:
    """The adapters that read a request's body, and its other parameters."""
    found = [parameter.adapter for parameter in others]
    return found if body is None or body.adapter is None else [body.adapter, *found]


def _is_body(annotation: Any) -> bool:
    """Whether the annotation of the first parameter is a type of data, which no Context can have."""
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type) or issubclass(kind, Context):
        return False
    return issubclass(kind, _PLAIN) or issubclass(kind, BaseModel) or is_dataclass(kind) or typing.is_typeddict(kind)


def _is_data(annotation: Any) -> bool:
    """Whether the annotation is a type that no part of a path or a query is: an object, a list or a file."""
    kind = typing.get_origin(annotation) or annotation
    is_text = isinstance(kind, type) and issubclass(kind, str | bytes | int | float)
    return (kind is UploadFile or _is_body(annotation)) and not is_text


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function. Raises WorkflowFault if one cannot be evaluated."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise WorkflowFault(
            f"an annotation of {function.__name__}() names {error.name!r}, which is not defined above it: "
            "import it at the top of the module (not under TYPE_CHECKING) or define it above the function"
        ) from error
    except (AttributeError, SyntaxError, TypeError) as error:
        raise WorkflowFault(
            f"an annotation of {function.__name__}() is not a type: {error}. Write a type, and a text about it in the "
            "docstring"
        ) from error


def _adapter(parameter: str, annotation: Any) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter(annotation)
        if not adapter.pydantic_complete:  # it would pass here and fail at each request
            adapter.rebuild(raise_errors=True)
    except PydanticUndefinedAnnotation as error:
        raise WorkflowFault(
            f"the type of {parameter!r} names {error.name!r}, which is not defined above the function: move it up"
        ) from error
    except PydanticUserError as error:
        raise WorkflowFault(
            f"the annotation of {parameter!r} is not a type that pydantic can validate ({shown(annotation)}): "
            f"{of_annotation(annotation)}"
        ) from error
    if fault := fault_of(adapter.core_schema):
        raise WorkflowFault(f"the type of {parameter!r} takes unlimited time to validate: {fault}")
    return adapter
