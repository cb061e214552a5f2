"""Values and patterns of JSON Schema, and what they are. Pure."""

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
"""The Python types of the types that schemas have, but for null."""


def is_json(value: Any) -> bool:
    """Whether JSON can say it: it knows neither infinity nor NaN (RFC 8259, section 6)."""
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


def is_ecma(pattern: str) -> bool:
    """Whether a pattern says the same in ECMA 262, as JSON Schema has it, as in the languages of Python and Rust."""
    return not _NOT_ECMA.search(pattern)
