"""Validators that stop at the first mistakes. pydantic makes all of them, and a body of a megabyte can have a million:
that takes seconds of the event loop, and hundreds of megabytes.

Two validators are made of a type's schema, without a change of its author's classes:

- `stopping` raises Stopped at the first element of an array, or value of an object, that is wrong. Valid values cost
  nothing more.
- `collecting` is for what another one rejected. It makes the mistakes of the first elements, and validates the others
  without keeping what is wrong with them.

Within a union a wrong element is no mistake yet, because another member of the union may fit. There arrays end at
their first wrong element, and nothing else is changed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, core_schema

from postern.authoring.schema_kinds import LISTS, MAPS, SETS, holds_none

Schema = dict[str, Any]
Wrap = Callable[[Any], Any]

MOST_ELEMENTS = 50
"""Wrong elements whose mistakes are made."""
MOST_MISTAKES = 1000
"""Mistakes that are worth reading: more are not listed at all."""

_ARRAYS = LISTS | SETS
_PASSING_ON = (
    _ARRAYS
    | MAPS
    | {
        *(
            "definitions",
            "definition-ref",
            "tuple",
            "named-tuple",
            "named-tuple-field",
            "nullable",
            "model",
            "model-fields",
            "model-field",
        ),
        *(
            "dataclass",
            "dataclass-args",
            "dataclass-field",
            "typed-dict",
            "typed-dict-field",
            "tagged-union",
            "default",
        ),
        *("function-before", "function-after", "json-or-python", "lax-or-strict", "chain", "custom-error"),
    }
)
"""Types of schemas that are wrong if a schema in them is. All others may catch its mistakes."""

_HERE = "postern_element"
"""The type of the mistake that stands for an element, and its name in locations. Both are removed."""

_found: ContextVar[list[int]] = ContextVar("found")


class Stopped(Exception):
    """Something in the value is wrong."""


def stopping(schema: Schema) -> Any:
    """The schema of a validator that raises Stopped at the first wrong element. The same schema if it has none."""
    return _changed(schema, _stop_at)


def collecting(schema: Schema) -> Any:
    """The schema of a validator that makes the mistakes of the first elements, within `few_mistakes`."""
    return _changed(schema, _collect)


@contextmanager
def few_mistakes() -> Iterator[list[int]]:
    """Count the wrong elements of one validation, in a list of one number."""
    token = _found.set(found := [0])
    try:
        yield found
    finally:
        _found.reset(token)


def mistakes_in(error: ValidationError, *, with_input: bool = False) -> list[dict[str, Any]]:
    """The mistakes of a validator of this module, in pydantic's form. A single one without a place stands for too many
    of them."""
    if error.error_count() > MOST_MISTAKES:
        return [{"type": "too_many", "loc": (), "msg": "has more mistakes than can be listed"}]
    made = error.errors(include_url=False, include_input=with_input, include_context=False)
    shown = [each for each in made if each["type"] != _HERE]
    return [{**each, "loc": tuple(part for part in each["loc"] if part != _HERE)} for each in shown]


def _stop_at(element: Any) -> Any:
    return core_schema.with_default_schema(element, default_factory=_stop, on_error="default")


def _stop() -> NoReturn:
    raise Stopped


def _collect(element: Any) -> Any:
    """The element, or nothing if enough elements before it are wrong."""
    choices: list[Any] = [(element, _HERE), (core_schema.no_info_plain_validator_function(_take), _HERE)]
    return core_schema.union_schema(choices, mode="left_to_right")


def _take(_: Any) -> None:
    """Count a wrong element. The first ones have their mistakes made, and this one in addition."""
    found = _found.get()
    found[0] += 1
    if found[0] <= MOST_ELEMENTS:
        raise PydanticCustomError(_HERE, "wrong")


def _changed(schema: Schema, wrap: Wrap) -> Any:
    within = _within_unions(schema)
    return _walked(schema, wrap, within, True)


def _walked(part: Any, wrap: Wrap, within: set[str], sure: bool) -> Any:
    """A schema with its elements wrapped. `sure` is whether a mistake in it is one of the whole. `within` are the
    definitions for which that is not known."""
    if isinstance(part, list | tuple):
        return type(part)([_walked(each, wrap, within, sure) for each in part])
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if isinstance(kind, str):
        sure = sure and _passes_on(part) and part.get("ref") not in within
    made = {
        name: value if holds_none(part, name) else _walked(value, wrap, within, sure) for name, value in part.items()
    }
    return _of_kind(made, wrap if sure else _unchanged) if isinstance(kind, str) else made


def _of_kind(made: Schema, wrap: Wrap) -> Any:
    """A schema whose inner schemas are changed already."""
    kind = made["type"]
    if kind in _ARRAYS:
        return {**_with(made, "items_schema", wrap), "fail_fast": wrap is not _collect}
    if kind == "tuple" and (variadic := made.get("variadic_item_index")) is not None:
        items = list(made["items_schema"])
        items[variadic] = wrap(items[variadic])
        return {**made, "items_schema": items, "fail_fast": wrap is not _collect}
    if kind in MAPS:
        return _with(_with(made, "keys_schema", wrap), "values_schema", wrap)
    if kind in ("model-fields", "typed-dict", "dataclass-args"):
        return _with(made, "extras_schema", wrap)
    return wrap(made) if kind == "definition-ref" else made


def _with(made: Schema, name: str, wrap: Wrap) -> Schema:
    return {**made, name: wrap(made[name])} if name in made else made


def _unchanged(element: Any) -> Any:
    return element


def _passes_on(part: Mapping[str, Any]) -> bool:
    custom = part.get("custom_init") or part.get("on_error", "raise") != "raise"
    return part["type"] in _PASSING_ON and not custom


def _within_unions(schema: Schema) -> set[str]:
    """The definitions that are used where a mistake is not one of the whole."""
    parts = list(_parts(schema, True))
    definitions = {part["ref"]: part for part, _ in parts if "ref" in part}
    found: set[str] = set()
    left = _references(parts)
    while left:
        ref = left.pop()
        if ref not in found:
            found.add(ref)
            left += _references(_parts(definitions[ref], False))
    return found


def _references(parts: Iterable[tuple[Any, bool]]) -> list[str]:
    return [part["schema_ref"] for part, sure in parts if not sure and part["type"] == "definition-ref"]


def _parts(part: Any, sure: bool) -> Iterator[tuple[Any, bool]]:
    """A schema and all schemas in it, each with whether a mistake in it is one of the whole."""
    inner = part
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            sure = sure and _passes_on(part)
            yield part, sure
        inner = [value for name, value in part.items() if not holds_none(part, name)]
    if isinstance(inner, list | tuple):
        for each in inner:
            yield from _parts(each, sure)
