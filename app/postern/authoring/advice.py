"""What an author most probably meant by a value that `@workflow` or its function cannot take."""

import re
import typing
from collections.abc import Iterable, Mapping
from inspect import Parameter
from typing import Any
from uuid import UUID

from postern.access import Anonymous, SpecificUsers, TenantUsers
from postern.authoring.context import Context
from postern.near_names import near

UPLOAD = "UploadFile"
"""The name of the type of a file, here and in other frameworks."""
_OF_PATHS = (int, str, float, bool, UUID)
_MODES = ("anonymous", "tenant_users", "specific_users")
_BRACES = re.compile(r"[<{:(]*\b([A-Za-z_][A-Za-z0-9_]*)\b.*")


def shown(value: object) -> str:
    """The value as it stands in the author's code, if that is short: no address in memory, and no long text."""
    named = getattr(value, "__name__", None)
    text = named if isinstance(named, str) else repr(value)
    return text if len(text) <= 80 and " at 0x" not in text else type(value).__name__


def of_access(value: object) -> str:
    """How to write an access mode in place of this value."""
    named = value if isinstance(value, str) else getattr(value, "__name__", "")
    if isinstance(named, str) and named in _MODES:
        name = '"lisa"' if named == "specific_users" else ""
        return f"call it: write access={named}({name})"
    if isinstance(value, list | tuple | set) and value and all(isinstance(each, str) for each in value):
        return f"write access=specific_users({', '.join(f'{each!r}' for each in list(value)[:3])})"
    return "call anonymous(), tenant_users() or specific_users(...)"


def of_decorated(value: object) -> str:
    """What to write if `@workflow` got this value, and no function."""
    if isinstance(value, Anonymous | TenantUsers | SpecificUsers):
        return f": write @workflow(access={value.mode}(...)), with the name of the option"
    if isinstance(value, type):
        return f": write the function of the workflow outside of the class {value.__name__}"
    return ""


def of_name(chosen: object) -> str:
    """The name that is most like this one and can be a workflow's; "" if there is none."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", chosen) if isinstance(chosen, str) else ""
    return "-".join(re.findall(r"[a-z0-9]+", words.lower()))


def of_annotation(annotation: Any) -> str:
    """A type that pydantic can validate in place of this annotation."""
    if isinstance(annotation, list) and len(annotation) == 1:
        return f"write list[{shown(annotation[0])}]"
    if isinstance(annotation, dict) and len(annotation) == 1:
        key, value = next(iter(annotation.items()))
        return f"write dict[{shown(key)}, {shown(value)}]"
    if isinstance(annotation, tuple) and annotation:
        return f"write tuple[{', '.join(map(shown, annotation))}]"
    if annotation is any:
        return "write Any, which is imported from typing"
    if isinstance(annotation, type):
        if annotation.__name__ == UPLOAD:
            return f"write `from postern import {UPLOAD}`, and a form that has it: `Annotated[Order, Form()]`"
        return f"write `class {annotation.__name__}(BaseModel)`, with BaseModel of pydantic, or make it a dataclass"
    if typing.get_origin(annotation) is None and not callable(annotation):
        return f"write the type, such as {type(annotation).__name__}, and the value as a default"
    return "write a pydantic model, a dataclass or a type such as int, str, list[str] or dict[str, int]"


def of_segment(segment: str) -> str:
    """A part of a path that could be meant by one that is not valid; "" if it is no parameter."""
    marked = segment[:1] in ("<", "{", ":")
    found = _BRACES.fullmatch(segment.rpartition(":")[2] if segment.startswith("<") else segment)
    return f". Write {{{found[1]}}}, and its type in the function: `{found[1]}: int`" if marked and found else ""


def of_parameter(name: str, function: str, unclaimed: Iterable[str], body: str, *, data: bool = False) -> str:
    """What to do about a parameter that gets nothing. `unclaimed` are parts of the path that no parameter takes, and
    `body` is the parameter that takes the body, "" if it is free. `data` says that it is a second body: an object, a
    list, a form or a file."""
    left = list(unclaimed)
    if body and data:
        return (
            f"a request has one body, and {body!r} takes it: write one model with a field for each of the two "
            f"(`class Body(BaseModel)`), and leave {name!r} out"
        )
    if meant := near(name, left):
        return f"rename it to {meant!r}, as in path=, or write {{{name}}} there"
    if not body:
        return f"the body is the second parameter, so write `{function}(ctx: Context, {name}: ..., ...)`"
    return f'write path="/{{{name}}}", `Annotated[..., Query()]` for the query, or leave it out'


def wraps(parameters: list[Parameter]) -> str:
    """What to add if a function takes no context because a decorator made it."""
    made = bool(parameters) and parameters[0].kind is Parameter.VAR_POSITIONAL
    return ", or write functools.wraps in the decorator that made it" if made else ""


def misplaced_context(function: str, parameters: list[Parameter], hints: Mapping[str, Any]) -> str:
    """What is wrong if another parameter than the first one is the Context; "" if none is."""
    first = parameters[0].name
    at = next((each.name for each in parameters[1:] if hints.get(each.name) is Context), "")
    if not at:
        return ""
    if first == "self":
        return f"{function}() is a method: write the workflow's function at the top of the module, outside of the class"
    return f"the first parameter of {function}() is the Context: write `{at}: Context` before {first!r}"


def part_of_path(body: str, hints: Mapping[str, Any], unclaimed: Iterable[str]) -> str:
    """The part of the path that was meant by the parameter that would take the body; "" if none was."""
    return near(body, unclaimed) if hints.get(body) in _OF_PATHS else ""
