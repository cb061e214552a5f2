"""Checks of the values and patterns in a JSON Schema. Pure."""

import math
import re
from collections.abc import Mapping
from typing import Any

_NOT_ECMA = re.compile(r"\(\?P|\(\?[aiLmsux#-]|\(\?>|\\[AZz]|[*+?}]\+|\[\[:|\\[pP]\{")
TYPES: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}
"""The Python types of JSON Schema's types, except null."""


def is_json(value: Any) -> bool:
    """Whether it is a JSON value: JSON has neither infinity nor NaN (RFC 8259, section 6)."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict | list):
        return all(map(is_json, value.values() if isinstance(value, dict) else value))
    return True


def kind_of(value: Any) -> str:
    """The type of a value, as a schema names it."""
    return next((name for name, types in TYPES.items() if isinstance(value, types)), "null")


def is_of(value: Any, kind: str | None) -> bool:
    """Whether the value is of this type; None is any type."""
    return kind is None or kind == kind_of(value) or (kind == "number" and kind_of(value) == "integer")


def is_pattern(text: str) -> bool:
    """Whether it is a regular expression. Some that only Rust accepts are not, because other readers reject them."""
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def is_ecma(pattern: str) -> bool:
    """Whether a pattern means the same in ECMA 262, which JSON Schema uses, as in Python and Rust."""
    return is_pattern(pattern) and not _NOT_ECMA.search(pattern)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value fits the type, the enum and the bounds in the schema itself. The schema may be one of OpenAPI
    2.0, where a separate keyword makes a bound exclusive. No reference is followed."""
    kinds = schema.get("type", [])
    named = [kinds] if isinstance(kinds, str) else kinds
    if named and not any(is_of(value, kind) for kind in named):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    parts = schema.get("anyOf") or schema.get("oneOf") or []
    if parts and not any(fits(value, part) for part in parts):
        return False
    match value:
        case bool() | None:
            return True
        case int() | float():
            return _within(value, schema)
        case str():
            return _long_enough(value, schema, "Length")
        case list():
            return _long_enough(value, schema, "Items")
        case _:
            return all(name in value for name in schema.get("required", ()))


def _within(value: float, schema: Mapping[str, Any]) -> bool:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", False), schema.get("exclusiveMaximum", False)
    above = least if above is True else -math.inf if above is False else above
    below = most if below is True else math.inf if below is False else below
    return bool(least <= value <= most and above < value < below)


def _long_enough(value: str | list[Any], schema: Mapping[str, Any], of: str) -> bool:
    return bool(schema.get(f"min{of}", 0) <= len(value) <= schema.get(f"max{of}", math.inf))
