"""Converts the keywords of a schema that hold no schemas to OpenAPI 2.0. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from postern.openapi.conversion_loss import at
from postern.openapi.json_values import is_ecma, is_json, kind_of

Schema = dict[str, Any]
Lose = Callable[[str, str], None]
"""Takes the place of a loss, and the sentence that reports it."""

FORMATS = frozenset(
    (
        *("int32", "int64", "float", "double", "byte", "binary", "date", "date-time", "password", "date-no-tz"),
        *("email", "html", "uri", "uuid"),
    )
)
"""The formats that the platform supports."""

_AS_THEY_ARE = (
    *("title", "description", "readOnly", "uniqueItems", "multipleOf", "maximum", "minimum"),
    *("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"),
)
KEYWORDS = frozenset(
    (
        *_AS_THEY_ARE,
        *("type", "format", "enum", "const", "default", "example", "examples", "pattern", "nullable"),
        *("exclusiveMinimum", "exclusiveMaximum", "contentEncoding"),
    )
)
"""The keywords that are converted here."""


def plain_keywords(schema: Mapping[str, Any], where: str, lose: Lose) -> Schema:
    """The keywords without schemas of the schema at this place, and its extensions."""
    made: Schema = {}
    for part in (_type, _values, _bounds, _text):
        part(made, schema, where, lose)
    return made | {key: value for key, value in schema.items() if key.startswith("x-")}


def _type(made: Schema, schema: Mapping[str, Any], where: str, lose: Lose) -> None:
    types = schema.get("type", [])
    named = [types] if isinstance(types, str) else list(types)
    rest = [name for name in named if name != "null"]
    if len(rest) < len(named) or schema.get("nullable") is True:
        made["x-nullable"] = True
    if set(rest) == {"integer", "number"}:
        rest = ["number"]
    if len(rest) == 1:
        made["type"] = rest[0]
    elif rest:
        lose(at(where, "type"), f"One of {', '.join(rest)} cannot be expressed: any value fits.")


def _values(made: Schema, schema: Mapping[str, Any], where: str, lose: Lose) -> None:
    """`const` and `enum`, without null, and only values of one type: the platform shows them as a list."""
    if "const" not in schema and "enum" not in schema:
        return
    values = [schema["const"]] if "const" in schema else list(schema["enum"])
    some = [value for value in values if value is not None]
    if len(some) < len(values):
        made["x-nullable"] = True
    kinds = {kind_of(value) for value in some}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1 or not all(map(is_json, some)):
        made.pop("type", None)
        lose(at(where, "enum"), "Values of several types cannot be listed: any value fits.")
    elif some:
        made.setdefault("type", kinds.pop())
        made["enum"] = [value for n, value in enumerate(some) if value not in some[:n]]


def _bounds(made: Schema, schema: Mapping[str, Any], where: str, lose: Lose) -> None:
    made |= {key: schema[key] for key in _AS_THEY_ARE if key in schema and is_json(schema[key])}
    for bound, tighter in (("minimum", max), ("maximum", min)):
        exclusive = f"exclusive{bound.capitalize()}"
        limit: Any = schema.get(exclusive)
        if limit is not None and is_json(limit) and tighter(limit, made.get(bound, limit)) == limit:
            made |= {bound: limit, exclusive: True}
    examples = schema.get("examples", [])
    shown = [schema["example"]] if "example" in schema else examples[:1]
    if shown and is_json(shown[0]):
        made["example"] = shown[0]
    if len(examples) > 1:
        lose(at(where, "examples"), "Only the first example can be shown.")


def _text(made: Schema, schema: Mapping[str, Any], where: str, lose: Lose) -> None:
    """The keywords that describe the form of a string."""
    written = schema.get("format")
    if schema.get("contentEncoding") == "base64" or written == "base64":
        written = "byte"
    elif "contentEncoding" in schema:
        lose(at(where, "contentEncoding"), "The encoding of the string cannot be expressed.")
    if written and re.fullmatch(r"uuid\d", written):
        written = "uuid"
    if written in FORMATS:
        made["format"] = written
    elif written is not None:
        lose(at(where, "format"), f"The platform does not support the format {written!r}: any value of this type fits.")
    if "pattern" in schema and not is_ecma(schema["pattern"]):
        lose(at(where, "pattern"), "The pattern is not valid in ECMA 262: any string fits.")
    elif "pattern" in schema:
        made["pattern"] = schema["pattern"]
