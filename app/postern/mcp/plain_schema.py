"""JSON Schemas as the strictest clients of the Model Context Protocol read them. Pure.

Pydantic writes references, unions with null and exclusive bounds. Copilot Studio drops a tool with a reference without
notice, and other clients reject all tools of a server for one such schema. A plain schema has none of that, and is
valid in draft 7 and in 2020-12. It may allow more than the trigger does, which validates every call. It never allows
less, except that null is not allowed in place of a member that may be left out.

Source: JSON Schema draft 7 and 2020-12; Model Context Protocol, revision 2026-07-28, "Tools".
"""

from collections.abc import Mapping
from math import ceil, floor, isfinite
from typing import Any

from postern.openapi.json_values import is_ecma, is_of

Json = dict[str, Any]

MOST_NODES = 2000
"""Schemas in one schema. Models that refer to each other several times would otherwise grow without end."""
MOST_DEEP = 30
"""References within references."""

_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
_ONE = frozenset(
    {"items", "contains", "propertyNames", "not", "if", "then", "else", "unevaluatedItems", "contentSchema"}
    | {"additionalProperties", "unevaluatedProperties"}
)
_MAY_BE_BOOLEAN = frozenset({"additionalProperties", "unevaluatedProperties"})
_SEVERAL = frozenset({"anyOf", "oneOf", "allOf"})
_UNIONS = ("anyOf", "oneOf")
_DROPPED = frozenset(
    {"$ref", "$defs", "$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor"}
    | {"$recursiveRef", "$vocabulary", "$comment", "definitions", "dependencies", "additionalItems", "prefixItems"}
    | {"discriminator", "nullable", "xml", "externalDocs", "type", "exclusiveMinimum", "exclusiveMaximum"}
)
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})


def plain(schema: Any, definitions: Mapping[str, Json] | None = None, *, nullable: bool = False) -> Json:
    """The schema without references, type arrays, exclusive bounds and tuples, and with `properties` and `items` in
    every object and array. `definitions` are schemas by what refers to them, beside the schema's own `$defs`. What
    refers to itself becomes an object (or array) of anything. `nullable` keeps null where a member may be left out:
    results have it there."""
    own = schema.get("$defs") if isinstance(schema, dict) else None
    known = {f"#/$defs/{name}": each for name, each in own.items()} if isinstance(own, dict) else {}
    return _Writer({**(definitions or {}), **known}, nullable).written(schema, ())


def without_null(schema: Json) -> Json:
    """A plain schema of something that may be left out, without null as another way to say so."""
    rest = {key: value for key, value in schema.items() if key not in _UNIONS and (key, value) != ("default", None)}
    if "enum" in schema:
        values = [each for each in schema["enum"] if each is not None]
        return {**rest, "enum": values} if values and len(values) < len(schema["enum"]) else schema
    union = next((each for each in _UNIONS if each in schema), "")
    choices = [each for each in schema.get(union, ()) if not _is_null(each)]
    if not choices or len(choices) == len(schema[union]):
        return schema
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, union: choices}


class _Writer:
    """Writes one schema, at most MOST_NODES of its parts."""

    def __init__(self, definitions: Mapping[str, Json], nullable: bool) -> None:
        self._definitions = definitions
        self._nullable = nullable
        self._left = MOST_NODES

    def written(self, schema: Any, inside: tuple[str, ...]) -> Json:
        """The plain form of a schema that is inside of what these references name."""
        if not isinstance(schema, dict):
            return {"not": {}} if schema is False else {}
        self._left -= 1
        target = schema.get("$ref")
        if isinstance(target, str):
            return self._referred(target, schema, inside)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return self._of_kinds(schema, kinds, inside)
        made = self._keywords(schema, inside)
        if isinstance(kinds, str):
            made = {"type": kinds, **made}
        if kinds == "object":
            made.setdefault("properties", {})
        if kinds == "array" or "prefixItems" in schema:
            made["items"] = self._items(schema, inside)
        _bound(made, schema, whole=kinds == "integer")
        return made

    def _referred(self, target: str, schema: Json, inside: tuple[str, ...]) -> Json:
        found = self._definitions.get(target, {})
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        if target in inside or len(inside) >= MOST_DEEP or self._left <= 0:
            kind = found.get("type")
            cut = {key: found[key] for key in ("type", "description") if key in found and kind in ("object", "array")}
            return self.written({**cut, **{key: beside[key] for key in beside if key in _ANNOTATIONS}}, inside)
        return self.written({**found, **beside}, (*inside, target))

    def _of_kinds(self, schema: Json, kinds: list[Any], inside: tuple[str, ...]) -> Json:
        """A schema of several types as a union: `["string", "null"]`."""
        outer = {key: schema[key] for key in schema if key in _ANNOTATIONS}
        inner = {key: schema[key] for key in schema if key not in _ANNOTATIONS}
        choices = [_of_kind(inner, str(kind)) for kind in kinds]
        return self.written({**outer, "anyOf": choices} if len(choices) > 1 else {**outer, **choices[0]}, inside)

    def _keywords(self, schema: Json, inside: tuple[str, ...]) -> Json:
        made: Json = {}
        for key, value in schema.items():
            if key in _BY_NAME and isinstance(value, dict):
                made[key] = {
                    name: self._member(name, part, schema, inside)
                    if key == "properties"
                    else self.written(part, inside)
                    for name, part in value.items()
                    if key != "patternProperties" or is_ecma(name)
                }
            elif key in _ONE:
                made[key] = value if isinstance(value, bool) and key in _MAY_BE_BOOLEAN else self.written(value, inside)
            elif key in _SEVERAL:
                made[key] = [self.written(each, inside) for each in value]
            elif key not in _DROPPED and not (key == "pattern" and not is_ecma(value)):
                made[key] = value
        return made

    def _member(self, name: str, part: Any, schema: Json, inside: tuple[str, ...]) -> Json:
        """The schema of one member of an object, without a title that only repeats its name."""
        made = self.written(part, inside)
        if made.get("title") == name.title().replace("_", " ").strip():
            del made["title"]
        return made if self._nullable or name in schema.get("required", ()) else without_null(made)

    def _items(self, schema: Json, inside: tuple[str, ...]) -> Json:
        """The schema of each item: of a tuple, any of those of its places, and of what may follow."""
        places = [*schema.get("prefixItems", ())]
        rest = schema.get("items")
        if places and isinstance(rest, dict):
            places.append(rest)
        elif not places:
            return self.written(rest if isinstance(rest, dict) else {}, inside)
        elif rest is not False and schema.get("maxItems", len(places) + 1) > len(places):
            return {}
        written = [self.written(each, inside) for each in places]
        different = [each for number, each in enumerate(written) if each not in written[:number]]
        return different[0] if len(different) == 1 else {"anyOf": different}


def _of_kind(schema: Json, kind: str) -> Json:
    """The part of a schema of several types that is of this one."""
    made: Json = {**schema, "type": kind} if kind != "null" else {"type": kind}
    if "enum" in schema and kind != "null":
        made["enum"] = [each for each in schema["enum"] if each is not None and is_of(each, kind)] or schema["enum"]
    return made


def _is_null(schema: Json) -> bool:
    return schema.get("type") == "null" or schema.get("const", 0) is None or schema.get("enum") == [None]


def _bound(made: Json, schema: Json, *, whole: bool) -> None:
    """Put inclusive bounds in place of exclusive ones: of integers the next value, of other numbers the bound itself,
    with a sentence that it is not included."""
    low, high = (_number(schema.get(name)) for name in ("exclusiveMinimum", "exclusiveMaximum"))
    if low is not None:
        value = floor(low) + 1 if whole else low
        made["minimum"] = max(value, made.get("minimum", value))
    if high is not None:
        value = ceil(high) - 1 if whole else high
        made["maximum"] = min(value, made.get("maximum", value))
    said = [f"More than {low}."] if low is not None else []
    said += [f"Less than {high}."] if high is not None else []
    if said and not whole:
        made["description"] = " ".join([*([made["description"]] if "description" in made else []), *said])


def _number(bound: Any) -> int | float | None:
    return bound if isinstance(bound, int | float) and not isinstance(bound, bool) and isfinite(bound) else None
