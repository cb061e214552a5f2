"""Examples of values for a JSON Schema, for people to change. They follow its types, formats and bounds. Pure."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from postern.openapi.pattern_text import text_for
from postern.openapi.property_table import Reader, alternatives

Json = dict[str, Any]

NOTHING: Any = object()
"""Used if an example would never end: a model that contains itself."""

MAX_VALUES = 200
"""After so many values an example has only required members: nested models could double it at each level."""
MAX_TEXT = 1000
"""Characters of a text in an example."""

_TEXTS = {
    "date-time": "2026-03-01T09:00:00Z",
    "date": "2026-03-01",
    "time": "09:00:00Z",
    "duration": "PT30M",
    "uuid": "11111111-2222-4333-8444-555555555555",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "binary": "text",
}
_PLAIN: Mapping[str, Any] = {"boolean": True, "null": None}


class Examples:
    """Makes examples of schemas whose references lead to these components."""

    def __init__(self, components: Mapping[str, Json]) -> None:
        self._reader = Reader(components)
        self._left = MAX_VALUES

    def example(self, schema: Json) -> Any:
        """A value that fits the schema; {} if nothing is known of it."""
        self._left = MAX_VALUES
        made = self._made(schema, ())
        return {} if made is NOTHING else made

    def _made(self, schema: Json, above: tuple[str, ...]) -> Any:
        self._left -= 1
        if self._left < -MAX_VALUES:
            return NOTHING
        target = schema.get("$ref")
        if isinstance(target, str):
            if target in above:
                return NOTHING
            above = (*above, target)
        schema = self._reader.resolved(schema)
        given = _given(schema)
        if given is not NOTHING:
            return given
        for part in alternatives(schema):
            made = self._made(part, above)
            if made is not NOTHING:
                return made
        return self._of_type(schema, above)

    def _of_type(self, schema: Json, above: tuple[str, ...]) -> Any:
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        match kind:
            case "string":
                return _text(schema)
            case "integer" | "number":
                return _number(schema)
            case "array":
                return self._list(schema, above)
            case "object":
                return self._object(schema, above)
        return _PLAIN.get(str(kind), {})

    def _object(self, schema: Json, above: tuple[str, ...]) -> Any:
        made: Json = {}
        required = schema.get("required", ())
        for name, part in schema.get("properties", {}).items():
            value = self._made(part, above) if self._left > 0 or name in required else NOTHING
            if value is not NOTHING:
                made[name] = value
            elif name in required:
                return NOTHING
        more = schema.get("additionalProperties")
        if not made and isinstance(more, dict) and more:
            value = self._made(more, above)
            made = {} if value is NOTHING else {"name": value}
        return made

    def _list(self, schema: Json, above: tuple[str, ...]) -> Any:
        first = [self._made(part, above) for part in schema.get("prefixItems", ())]
        items = schema.get("items")
        if not first and isinstance(items, dict):
            count = max(1, min(schema.get("minItems", 1), self._left))
            first = [self._made(items, above)] * count
            self._left -= count
        return [value for value in first if value is not NOTHING]


def _given(schema: Json) -> Any:
    """The example that the schema itself gives; for an enum, its default."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "example" in schema:
        return schema["example"]
    if "const" in schema:
        return schema["const"]
    if schema.get("default") is not None:
        return schema["default"]
    return schema["enum"][0] if schema.get("enum") else NOTHING


def _text(schema: Json) -> str:
    text = _TEXTS.get(str(schema.get("format")), "text")
    least, most = min(schema.get("minLength", 0), MAX_TEXT), schema.get("maxLength")
    if "pattern" in schema and (found := text_for(str(schema["pattern"]), least, most)) is not None:
        return found
    return (text * ceil(least / len(text)) if len(text) < least else text)[:most]


def _number(schema: Json) -> Any:
    step = 1 if schema.get("type") == "integer" else 0.5
    least = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    most = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else 1)
    value = min(1, most) if least is None else least
    multiple = schema.get("multipleOf")
    return -(-value // multiple) * multiple if multiple else value
