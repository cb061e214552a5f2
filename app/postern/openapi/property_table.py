"""A JSON Schema in words that people read: what type it is, and a row for each member. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

from postern.openapi.schemas import COMPONENT

Json = dict[str, Any]

MAX_ROWS = 200
MAX_CHOICES = 12
MAX_NAMED = 4
"""Components in components that are told in the words of one type."""
MAX_DEPTH = 8
"""Components in components whose members have rows."""

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
    "array": "list",
}
_FORMATS = {
    "date-time": "date and time",
    "date": "date",
    "time": "time",
    "duration": "duration",
    "uuid": "UUID",
    "email": "e-mail address",
    "uri": "URL",
    "password": "secret text",
    "base64": "bytes in base64",
}
_RULES = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


class Member(NamedTuple):
    """One row. `name` is where it stands: `visitors[].name`; `notes` are its rules and its default."""

    name: str
    type: str
    required: bool
    description: str
    notes: tuple[str, ...]


class Reader:
    """Reads schemas whose references lead to these components."""

    def __init__(self, components: Mapping[str, Json]) -> None:
        self._components = components

    def resolved(self, schema: Json) -> Json:
        """The schema with what it refers to; its own members win."""
        target = schema.get("$ref")
        if not isinstance(target, str):
            return merged(schema)
        found = self._components.get(target.removeprefix(COMPONENT), {})
        return self.resolved(found) | {key: value for key, value in schema.items() if key != "$ref"}

    def words(self, schema: Json, above: tuple[str, ...] = ()) -> str:
        """Its type in words: `list of text`, `whole number or null`. `above` are the components that it stands in: one
        that holds itself is told by its name, and so is one deep inside."""
        target = str(schema.get("$ref", ""))
        schema = self.resolved(schema)
        if target and (target in above or len(above) == MAX_NAMED):
            return str(schema.get("title") or target.removeprefix(COMPONENT))
        return self._words(schema, (*above, target) if target else above, named=bool(target))

    def _words(self, schema: Json, above: tuple[str, ...], *, named: bool) -> str:
        if "const" in schema:
            return _json(schema["const"])
        if "enum" in schema:
            return _choices(schema["enum"])
        parts = alternatives(schema)
        if parts:
            return " or ".join(dict.fromkeys(self.words(part, above) for part in parts))
        kind = schema.get("type")
        if isinstance(kind, list):
            return " or ".join(_TYPES.get(each, str(each)) for each in kind)
        if kind == "array":
            return f"list of {self.words(schema['items'], above)}" if _is_schema(schema.get("items")) else "list"
        if kind == "object" and not named and _is_schema(schema.get("additionalProperties")):
            return f"object of {self.words(schema['additionalProperties'], above)}"
        if kind == "object" and schema.get("title"):
            return str(schema["title"])
        return _FORMATS.get(str(schema.get("format")), _TYPES.get(str(kind), "anything"))

    def members(self, schema: Json) -> list[Member]:
        """A row for each member, those of members included, as far as a page can hold them."""
        found = []
        for row in self._rows(schema, "", ()):
            found.append(row)
            if len(found) == MAX_ROWS:
                break
        return found

    def notes(self, schema: Json) -> tuple[str, ...]:
        """Its rules and its default, each in words."""
        schema = self.resolved(schema)
        single = [part for part in alternatives(schema) if part.get("type") != "null"]
        source = self.resolved(single[0]) | schema if len(single) == 1 else schema
        told = [_rule(words, source[key]) for key, words in _RULES.items() if key in source]
        if source.get("default") is not None:
            told.append(f"default {_json(source['default'])}")
        return tuple(told)

    def _rows(self, schema: Json, prefix: str, above: tuple[str, ...]) -> Iterator[Member]:
        target = schema.get("$ref")
        if isinstance(target, str):
            if target in above or len(above) == MAX_DEPTH:
                return
            above = (*above, target)
        schema = self.resolved(schema)
        required = schema.get("required", ())
        for name, part in _properties(schema):
            where = f"{prefix}.{name}" if prefix else name
            about = str(self.resolved(part).get("description", ""))
            yield Member(where, self.words(part), name in required, about, self.notes(part))
            yield from self._rows(part, where, above)
        for part, end in _inner(schema):
            yield from self._rows(part, prefix + end, above)
        parts = [part for part in alternatives(schema) if part.get("type") != "null"]
        for part in parts:
            named = len(parts) > 1 and "$ref" in part  # members of several models, told apart by their names
            yield from self._rows(part, f"{prefix} ({self.words(part)})".strip() if named else prefix, above)


def alternatives(schema: Json) -> list[Json]:
    """What it may be one of."""
    found = schema.get("anyOf") or schema.get("oneOf") or []
    return [part for part in found if isinstance(part, dict)]


def merged(schema: Json) -> Json:
    """A schema of one `allOf` as one; with several parts it stays as it is."""
    parts = schema.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict) and "$ref" not in parts[0]:
        return parts[0] | {key: value for key, value in schema.items() if key != "allOf"}
    return schema


def _properties(schema: Json) -> Iterator[tuple[str, Json]]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        yield from ((name, part) for name, part in properties.items() if isinstance(part, dict))


def _inner(schema: Json) -> Iterator[tuple[Json, str]]:
    """The schemas inside that have no name, each with what stands for it in a row's name."""
    for key, end in (("items", "[]"), ("additionalProperties", ".*")):
        if _is_schema(schema.get(key)):
            yield schema[key], end
    yield from ((part, "") for part in schema.get("allOf", ()) if isinstance(part, dict))


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _choices(values: list[Any]) -> str:
    shown = [_json(value) for value in values[:MAX_CHOICES]]
    return "one of " + ", ".join(shown) + (" …" if len(values) > MAX_CHOICES else "")


def _rule(words: str, value: Any) -> str:
    return (words.removesuffix("s") if value == 1 else words).format(_plain(value))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return to_json(value).decode()
