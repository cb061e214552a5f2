"""A JSON Schema for readers: its type in words, and a table row for each member. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

from postern.openapi.schemas import COMPONENT

Json = dict[str, Any]

MAX_ROWS = 200
MAX_CHOICES = 12
MAX_NAMED = 4
"""Levels of components that are described within one type."""
MAX_DEPTH = 8
"""Levels of components whose members have rows."""

_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "object",
    "array": "array",
}
_FORMATS = {
    "date-time": "date and time",
    "date": "date",
    "time": "time",
    "duration": "duration",
    "uuid": "UUID",
    "email": "e-mail address",
    "uri": "URL",
    "password": "secret string",
    "base64": "bytes in base64",
    "binary": "file",
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


_HAS_PLURAL = {"string", "integer", "number", "boolean", "object", "array", "date", "time", "duration", "UUID", "URL"}


class Member(NamedTuple):
    """One row. `name` is its path, such as `visitors[].name`; `notes` are its rules and its default."""

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
        """The schema with its reference resolved; its own members take precedence."""
        target = schema.get("$ref")
        if not isinstance(target, str):
            return merged(schema)
        found = self._components.get(target.removeprefix(COMPONENT), {})
        return self.resolved(found) | {key: value for key, value in schema.items() if key != "$ref"}

    def is_file(self, schema: Json) -> bool:
        """Whether it is a file of a form, or an array of files."""
        schema = self.resolved(schema)
        choices = [self.resolved(each) for each in alternatives(schema) or [schema]]
        items = [self.resolved(each["items"]) for each in choices if _is_schema(each.get("items"))]
        return any(each.get("format") == "binary" for each in [*choices, *items])

    def words(self, schema: Json, above: tuple[str, ...] = ()) -> str:
        """Its type in words: `array of strings`, `integer or null`. `above` are the components that contain it. A
        component that contains itself is shown by its name, and so is one at a deep level."""
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
            return (
                f"array of {_plural(self.words(schema['items'], above))}" if _is_schema(schema.get("items")) else kind
            )
        if kind == "object" and not named and _is_schema(schema.get("additionalProperties")):
            return f"object of {_plural(self.words(schema['additionalProperties'], above))}"
        if kind == "object" and schema.get("title"):
            return str(schema["title"])
        return _FORMATS.get(str(schema.get("format")), _TYPES.get(str(kind), "any JSON"))

    def members(self, schema: Json) -> list[Member]:
        """A row for each member, including members of members, at most MAX_ROWS."""
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
        notes = [_rule(words, source[key]) for key, words in _RULES.items() if key in source]
        if source.get("default") is not None:
            notes.append(f"default {_json(source['default'])}")
        return tuple(notes)

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
            named = (
                len(parts) > 1 and "$ref" in part
            )  # members of several models are distinguished by the models' names
            yield from self._rows(part, f"{prefix} ({self.words(part)})".strip() if named else prefix, above)


def alternatives(schema: Json) -> list[Json]:
    """The schemas that it is one of."""
    found = schema.get("anyOf") or schema.get("oneOf") or []
    return [part for part in found if isinstance(part, dict)]


def merged(schema: Json) -> Json:
    """A schema with one `allOf` part, merged with it; with several parts it stays unchanged."""
    parts = schema.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict) and "$ref" not in parts[0]:
        return parts[0] | {key: value for key, value in schema.items() if key != "allOf"}
    return schema


def _properties(schema: Json) -> Iterator[tuple[str, Json]]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        yield from ((name, part) for name, part in properties.items() if isinstance(part, dict))


def _inner(schema: Json) -> Iterator[tuple[Json, str]]:
    """The inner schemas that have no name, each with its suffix in a row's name."""
    for key, end in (("items", "[]"), ("additionalProperties", ".*")):
        if _is_schema(schema.get(key)):
            yield schema[key], end
    yield from ((part, "") for part in schema.get("allOf", ()) if isinstance(part, dict))


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _plural(words: str) -> str:
    return f"{words}s" if words in _HAS_PLURAL else words


def _choices(values: list[Any]) -> str:
    shown = [_json(value) for value in values[:MAX_CHOICES]]
    return "one of " + ", ".join(shown) + (" …" if len(values) > MAX_CHOICES else "")


def _rule(words: str, value: Any) -> str:
    return (words.removesuffix("s") if value == 1 else words).format(_plain(value))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return to_json(value).decode()
