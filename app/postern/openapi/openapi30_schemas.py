"""Converts schemas of OpenAPI 3.1 (JSON Schema 2020-12) to OpenAPI 3.0.

Every value that fits a schema also fits the converted one: if OpenAPI 3.0 cannot express a rule, the result is more
permissive, never stricter, and the loss is reported. OpenAPI 3.0.3: spec.openapis.org/oas/v3.0.3, Schema Object.
"""

from collections.abc import Mapping
from typing import Any

from postern.openapi.conversion_loss import Loss, at
from postern.openapi.json_values import is_ecma

Schema = dict[str, Any]

NULL: Schema = {"type": "object", "nullable": True, "enum": [None]}
"""Null and nothing else. `nullable` has no meaning without a type (OpenAPI 3.0.3, "Schema Object")."""

_SAME = frozenset(
    (
        *("title", "description", "default", "enum", "format", "multipleOf", "uniqueItems", "required", "example"),
        *("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties", "maximum", "minimum"),
        *("readOnly", "writeOnly", "deprecated", "discriminator", "externalDocs", "xml"),
    )
)
_LISTS = ("anyOf", "oneOf", "allOf")
_HANDLED = frozenset(
    (
        *("$ref", "type", "const", "examples", "exclusiveMinimum", "exclusiveMaximum", "nullable", "not", *_LISTS),
        *("items", "prefixItems", "properties", "additionalProperties", "patternProperties"),
        *("contentEncoding", "pattern"),
    )
)
_SILENT = frozenset(("$schema", "$id", "$comment", "$defs", "$anchor", "contentMediaType"))
"""Keywords without an effect on the values that fit."""


class Schemas30:
    """Converts the schemas of one document. `losses` are what could not be expressed."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def convert(self, schema: Any, where: str) -> Schema:
        """The schema at this place of the document, in OpenAPI 3.0."""
        if not isinstance(schema, dict):
            return {"not": {}} if schema is False else {}
        if schema.get("type") == "null" or (
            "const" in schema and schema["const"] is None and "null" in _types(schema, "null")
        ):
            return {**self._annotations(schema), **NULL}
        if "$ref" in schema:
            return self._reference(schema, where)
        self._report(schema, where)
        made = {key: value for key, value in schema.items() if key in _SAME or key.startswith("x-")}
        self._values(made, schema, where)
        self._bounds(made, schema)
        self._text(made, schema, where)
        self._array(made, schema, where)
        self._object(made, schema, where)
        for key in _LISTS:
            if schema.get(key):
                made[key] = [self.convert(part, at(where, key, n)) for n, part in enumerate(schema[key])]
        if "not" in schema:
            made["not"] = self.convert(schema["not"], at(where, "not"))
        return _simplified(self._typed(made, schema))

    def _lose(self, where: str, what: str) -> None:
        self.losses.append(Loss(where, what))

    def _annotations(self, schema: Mapping[str, Any]) -> Schema:
        kept = ("title", "description", "readOnly", "deprecated")
        return {key: value for key, value in schema.items() if key in kept or key.startswith("x-")}

    def _reference(self, schema: Mapping[str, Any], where: str) -> Schema:
        """A reference. Whatever is beside it would be ignored, so both become parts of one schema."""
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        if not beside:
            return {"$ref": schema["$ref"]}
        made = self.convert(beside, where)
        return {**made, "allOf": [{"$ref": schema["$ref"]}, *made.get("allOf", [])]}

    def _report(self, schema: Mapping[str, Any], where: str) -> None:
        for key in schema:
            if key not in _SAME and key not in _HANDLED and key not in _SILENT and not key.startswith("x-"):
                self._lose(at(where, key), f"The rule {key!r} cannot be expressed: more values fit than before.")

    def _values(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
        """`const` and `examples`, and members that OpenAPI 3.0 knows in one form only."""
        if "const" in schema:
            made["enum"] = [schema["const"]]
        examples = schema.get("examples") or []
        if examples and "example" not in made:
            made["example"] = examples[0]
        if len(examples) > 1:
            self._lose(at(where, "examples"), "Only the first example can be shown.")
        if made.get("required") == []:
            del made["required"]  # OpenAPI 3.0 wants at least one name
        for key, wanted in (("discriminator", "propertyName"), ("externalDocs", "url")):
            if key in made and not isinstance(made[key].get(wanted), str):
                del made[key]
        if "discriminator" in made:
            known = ("propertyName", "mapping")
            made["discriminator"] = {key: made["discriminator"][key] for key in known if key in made["discriminator"]}
        if made.get("readOnly") and made.get("writeOnly"):
            del made["writeOnly"]  # both are not allowed

    def _bounds(self, made: Schema, schema: Mapping[str, Any]) -> None:
        """An exclusive bound is a flag beside the bound. Of two bounds the tighter one stays."""
        for bound, tighter in (("minimum", max), ("maximum", min)):
            exclusive = f"exclusive{bound.capitalize()}"
            limit: Any = schema.get(exclusive)
            if limit is not None and tighter(limit, made.get(bound, limit)) == limit:
                made |= {bound: limit, exclusive: True}

    def _text(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
        if schema.get("contentEncoding") == "base64":
            made["format"] = "byte"
        elif "contentEncoding" in schema:
            self._lose(at(where, "contentEncoding"), "The encoding of the string cannot be expressed.")
        if "pattern" not in schema:
            return
        if is_ecma(schema["pattern"]):
            made["pattern"] = schema["pattern"]
        else:
            self._lose(at(where, "pattern"), "The pattern is not valid in ECMA 262: any string fits.")

    def _array(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
        """An array has one schema for all of its items, which must be present."""
        if "prefixItems" not in schema:
            if "items" in schema or "array" in _types(schema):
                made["items"] = self.convert(schema.get("items", {}), at(where, "items"))
            return
        places = [self.convert(part, at(where, "prefixItems", n)) for n, part in enumerate(schema["prefixItems"])]
        closed = schema.get("items") is False or schema.get("maxItems", len(places) + 1) <= len(places)
        rest = [] if closed else [self.convert(schema.get("items", {}), at(where, "items"))]
        kinds = [each for n, each in enumerate([*places, *rest]) if each not in [*places, *rest][:n]]
        made["items"] = kinds[0] if len(kinds) == 1 else {} if {} in kinds or not kinds else {"anyOf": kinds}
        if schema.get("items") is False:
            made["maxItems"] = min(made.get("maxItems", len(places)), len(places))
        if len(kinds) > 1:
            self._lose(at(where, "prefixItems"), "The types of items cannot be in an order: each fits everywhere.")

    def _object(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
        if "properties" in schema:
            made["properties"] = {
                name: self.convert(part, at(where, "properties", name)) for name, part in schema["properties"].items()
            }
        further, patterns = schema.get("additionalProperties"), schema.get("patternProperties") or {}
        if patterns:
            self._lose(at(where, "patternProperties"), "The names of members cannot be expressed: any names fit.")
            parts = [self.convert(part, at(where, "patternProperties", name)) for name, part in patterns.items()]
            if further is False:
                made["additionalProperties"] = parts[0] if len(parts) == 1 else {"anyOf": parts}
        elif isinstance(further, bool):
            made["additionalProperties"] = further
        elif further is not None:
            made["additionalProperties"] = self.convert(further, at(where, "additionalProperties"))

    def _typed(self, made: Schema, schema: Mapping[str, Any]) -> Schema:
        """With its type. Several types become a choice, and null becomes `nullable`."""
        types = _types(schema)
        rest = [name for name in types if name != "null"]
        if {"integer", "number"} <= set(rest):
            rest.remove("integer")
        nullable = "null" in types or (schema.get("nullable") is True and bool(rest))
        if len(rest) == 1:
            made["type"] = rest[0]
            if nullable:
                made["nullable"] = True
        elif rest:
            choice: list[Schema] = [{"type": name, **({"items": {}} if name == "array" else {})} for name in rest]
            choice += [dict(NULL)] if nullable else []
            made = {**made, "allOf": [*made.get("allOf", []), {"anyOf": choice}]}
        return made


def _types(schema: Mapping[str, Any], otherwise: str = "") -> list[str]:
    types = schema.get("type", otherwise)
    return [types] if isinstance(types, str) and types else list(types)


def _simplified(made: Schema) -> Schema:
    """A choice between one plain schema and null becomes that schema with `nullable`: tools show it as one type. A
    reference stays a choice, because what is beside it has no effect."""
    choice = made.get("anyOf")
    if not choice or len(choice) != 2 or NULL not in choice:
        return made
    other = next((each for each in choice if each != NULL), NULL)
    plain = "type" in other and "enum" not in other and not any(key in other for key in (*_LISTS, "not"))
    beside = {key: value for key, value in made.items() if key != "anyOf"}
    if not plain or not beside.keys() <= {"title", "description", "default", "example", "readOnly", "deprecated"}:
        return made
    return {**other, "nullable": True, **beside}
