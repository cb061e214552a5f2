"""The parameters of a workflow's function: which one is the body, and which are parts of the path."""

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from postern.authoring.context import Context
from postern.authoring.type_faults import fault_of
from postern.authoring.validators import Validators, validators_of

_PLAIN = (dict, list, tuple, set, str, bytes, int, float)
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9_.~-]+")
_PATH_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class WorkflowFault(ValueError):
    """A workflow that is not valid. The message says what is wrong and how to fix it."""


@dataclass(frozen=True, slots=True)
class BodyParameter:
    """The parameter that takes the body. `adapter` and `validators` are None if it has no annotation: the argument is
    then parsed JSON. For any other body it is the parameter's default (`ctx.request.body` has the bytes)."""

    name: str
    adapter: TypeAdapter[Any] | None
    validators: Validators | None
    required: bool


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A parameter that takes a part of the relative path, converted to its annotation."""

    name: str
    adapter: TypeAdapter[Any]
    validators: Validators


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
            )
    return segments


def parameters_of(
    function: Callable[..., Any], segments: tuple[str, ...], hints: Mapping[str, Any]
) -> tuple[BodyParameter | None, tuple[PathParameter, ...]]:
    """Which parameter takes the body, and which take the parts of the path. `hints` are the function's annotations.
    Raises WorkflowFault if that is not clear."""
    in_path = [found[1] for segment in segments if (found := _PATH_PARAMETER.fullmatch(segment))]
    if len(set(in_path)) != len(in_path):
        raise WorkflowFault(f"path: {'/'.join(segments)!r} has a parameter twice")
    parameters = list(inspect.signature(function).parameters.values())
    variadic = (
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    if not parameters or parameters[0].kind in variadic or parameters[0].name in in_path:
        raise WorkflowFault(f"{function.__name__}() takes no context: make its first parameter `ctx: Context`")
    if _is_body(hints.get(parameters[0].name)):
        raise WorkflowFault(
            f"the first parameter of {function.__name__}() is the Context, not the body: write "
            f"`{function.__name__}(ctx: Context, {parameters[0].name}: ...)`"
        )
    body: BodyParameter | None = None
    converted: dict[str, PathParameter] = {}
    for position, parameter in enumerate(parameters[1:], start=1):
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise WorkflowFault(f"{function.__name__}() takes *args or **kwargs: name its parameters one by one")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise WorkflowFault(f"{function.__name__}(): leave out the `/` among its parameters")
        name = parameter.name
        if name in in_path:
            of_path = _adapter(name, hints.get(name, str))
            converted[name] = PathParameter(name, of_path, validators_of(of_path))
        elif position == 1:
            adapter = _adapter(name, hints[name]) if name in hints else None
            required = parameter.default is inspect.Parameter.empty
            body = BodyParameter(name, adapter, validators_of(adapter) if adapter else None, required)
        else:
            raise WorkflowFault(
                f"{function.__name__}() has a parameter {name!r} that is neither the body (the second one) nor in "
                f'path=: write path="/{{{name}}}" or leave it out'
            )
    return body, tuple(converted[name] for name in in_path if name in converted)


def without_default(function: Callable[..., Any]) -> str:
    """The first parameter after the Context that a call without a request cannot give, "" if all have defaults."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return next((each.name for each in parameters if each.default is inspect.Parameter.empty), "")


def adapters_of(body: BodyParameter | None, path_parameters: Iterable[PathParameter]) -> list[TypeAdapter[Any]]:
    """The adapters that read a request's body and path."""
    found = [parameter.adapter for parameter in path_parameters]
    return found if body is None or body.adapter is None else [body.adapter, *found]


def _is_body(annotation: Any) -> bool:
    """Whether the annotation of the first parameter is a type of data, which no Context can have."""
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type) or issubclass(kind, Context):
        return False
    return issubclass(kind, _PLAIN) or issubclass(kind, BaseModel) or is_dataclass(kind) or typing.is_typeddict(kind)


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
        raise WorkflowFault(f"an annotation of {function.__name__}() is not a type: {error}") from error


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
        reason = str(error).partition("\n")[0]
        raise WorkflowFault(
            f"the annotation of {parameter!r} is not a type that pydantic can validate: {reason}"
        ) from error
    if fault := fault_of(adapter.core_schema):
        raise WorkflowFault(f"the type of {parameter!r} takes unlimited time to validate: {fault}")
    return adapter
