"""Converts schemas of OpenAPI 3.1 (JSON Schema 2020-12) to OpenAPI 2.0, as far as Power Platform supports it.

Every value that fits a schema also fits the converted one: if OpenAPI 2.0 cannot express a rule, the result is more
permissive, never stricter, and the loss is reported. OpenAPI 2.0: swagger.io/specification/v2, Schema Object. The part
that the platform supports: learn.microsoft.com/connectors/custom-connectors, and the schemas that Microsoft publishes
for connectors.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from postern.openapi.conversion_loss import Loss, at
from postern.openapi.json_values import fits, is_json
from postern.openapi.swagger_keywords import KEYWORDS, Schema, plain_keywords

COMPONENTS = "#/components/schemas/"
DEFINITIONS = "#/definitions/"
_ANNOTATIONS = ("title", "description", "default", "example", "readOnly")
_UNSAID = frozenset(("writeOnly", "deprecated"))
"""Keywords about the use of a schema: without them the same values fit."""
_SILENT = frozenset(("$schema", "$id", "$comment", "$defs", "$anchor", "discriminator", "contentMediaType"))
_HANDLED = KEYWORDS | {
    *("required", "$ref", "anyOf", "oneOf", "allOf"),
    *("items", "prefixItems", "properties", "patternProperties", "additionalProperties"),
}
_LARGEST_COPY = 2000
"""Characters of JSON. A larger schema is never written out twice, because nested models would grow without limit."""


class _Component(NamedTuple):
    """A schema with a name, its place, and the names that are known there."""

    schema: Any
    where: str
    scope: Mapping[str, str]


class SwaggerSchemas:
    """Converts the schemas of one document. `definitions` are those that were needed so far, `losses` what could not be
    expressed. A definition never refers to itself, even indirectly: the platform does not support that."""

    def __init__(self, components: Mapping[str, Any]) -> None:
        self.definitions: dict[str, Schema] = {}
        self.losses: list[Loss] = []
        self._names: dict[str, str] = {}
        self._open: list[str] = []
        self._components = {
            key: _Component(schema, at("", "components", "schemas", key), {}) for key, schema in components.items()
        }

    def convert(self, schema: Any, where: str, scope: Mapping[str, str] | None = None) -> Schema:
        """The schema at this place of the document, in OpenAPI 2.0. It is well-formed (see schema_keywords.py)."""
        known = scope or {}
        if not isinstance(schema, dict):
            if schema is False:
                self._lose(where, "No value fits here, which cannot be expressed: any value fits.")
            return {}
        if "$defs" in schema:
            known = self._hoisted(schema["$defs"], where, known)
        if "$ref" in schema:
            return self._reference(schema, where, known)
        for key in schema:
            if key in _UNSAID:
                self._lose(at(where, key), f"{key!r} cannot be expressed.")
            elif key not in _HANDLED and key not in _SILENT and not key.startswith("x-"):
                self._lose(at(where, key), f"The rule {key!r} cannot be expressed: more values fit than before.")
        made = self._plain(schema, where, known)
        for key in ("allOf", "anyOf", "oneOf"):
            if schema.get(key):
                made = self._combined(made, key, schema[key], where, known)
        return self._with_default(made, schema, where)

    def resolved(self, schema: Schema) -> Schema:
        """The converted schema itself, if it is a reference to a definition."""
        reference = schema.get("$ref")
        return self.definitions[reference.removeprefix(DEFINITIONS)] if reference else schema

    def _lose(self, where: str, what: str) -> None:
        loss = Loss(where, what)
        if loss not in self.losses:
            self.losses.append(loss)

    # Names and references

    def _hoisted(self, definitions: Mapping[str, Any], where: str, known: Mapping[str, str]) -> dict[str, str]:
        """The names of `$defs`, each with the component that it becomes."""
        keys = {name: at(where, "$defs", name) for name in definitions}
        scope = {**known, **keys}
        for name, schema in definitions.items():
            self._components[keys[name]] = _Component(schema, keys[name], scope)
        return scope

    def _reference(self, schema: Mapping[str, Any], where: str, known: Mapping[str, str]) -> Schema:
        """A reference alone stays one. Keywords beside it, which OpenAPI 2.0 ignores, are merged into the target."""
        target = str(schema["$ref"])
        key = known.get(target.removeprefix("#/$defs/"), "") if target.startswith("#/$defs/") else ""
        key = key or _unescaped(target.removeprefix(COMPONENTS))
        if key not in self._components:
            self._lose(where, "It refers to a schema that is not in this document: any value fits.")
            return {}
        if key in self._open:
            self._lose(where, "The schema contains itself, which the platform does not support: it is cut off here.")
            return {"type": "object"} if _is_object(self._components[key].schema) else {}
        name = self._define(key)
        beside = {part: schema[part] for part in _ANNOTATIONS if part in schema}
        beside |= {part: value for part, value in schema.items() if part.startswith("x-")}
        beside.pop("default", None)
        return self._with_default(self._laid_over({"$ref": DEFINITIONS + name}, beside, where), schema, where)

    def _laid_over(self, made: Schema, beside: Schema, where: str) -> Schema:
        """The schema with these members. A reference is written out for that. If its target is too large, it refers to
        a definition that may be null, and the other members are lost."""
        if "$ref" not in made or not beside:
            return {**made, **beside}
        target = self.resolved(made)
        if len(json.dumps(target)) <= _LARGEST_COPY:
            return {**deepcopy(target), **beside}
        if beside.keys() - {"x-nullable", "title"}:
            self._lose(where, "The keywords beside a reference to a large schema, such as a default, are omitted.")
        if not beside.get("x-nullable") or target.get("x-nullable"):
            return made
        name = made["$ref"].removeprefix(DEFINITIONS)
        key = f"{name}_or_null"
        if key not in self._names:
            self._names[key] = self._new_name(key)
            self.definitions[self._names[key]] = {**deepcopy(target), "x-nullable": True}
        return {"$ref": DEFINITIONS + self._names[key]}

    def _define(self, key: str) -> str:
        """The name of this component's definition, which is made if it does not exist yet."""
        if key not in self._names:
            self._names[key] = self._new_name(key)
        name = self._names[key]
        if name not in self.definitions:
            component = self._components[key]
            self._open.append(key)
            try:
                made = self.convert(component.schema, component.where, component.scope)
            finally:
                self._open.pop()
            self.definitions[name] = deepcopy(self.resolved(made))
        return name

    def _new_name(self, key: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_]+", "_", _unescaped(key.rpartition("/")[2])).strip("_") or "Schema"
        taken = {name.lower() for name in self._names.values()}
        name, number = wanted, 2
        while name.lower() in taken:
            name, number = f"{wanted}{number}", number + 1
        return name

    # Keywords

    def _plain(self, schema: Mapping[str, Any], where: str, known: Mapping[str, str]) -> Schema:
        """All keywords except references and combinations of schemas."""
        made = plain_keywords(schema, where, self._lose)
        self._array(made, schema, where, known)
        self._object(made, schema, where, known)
        return made

    def _array(self, made: Schema, schema: Mapping[str, Any], where: str, known: Mapping[str, str]) -> None:
        """An array has one schema for all of its items."""
        if made.get("type") != "array" and not {"items", "prefixItems"} & schema.keys():
            return
        if "prefixItems" not in schema:
            made["items"] = self.convert(schema.get("items", {}), at(where, "items"), known)
            return
        places = [
            self.convert(part, at(where, "prefixItems", n), known) for n, part in enumerate(schema["prefixItems"])
        ]
        open_ended = schema.get("items", True) is not False and schema.get("maxItems", math.inf) > len(places)
        alike = bool(places) and not open_ended and all(place == places[0] for place in places)
        made["items"] = places[0] if alike else {}
        if schema.get("items") is False:
            made.setdefault("maxItems", len(places))
        if not alike:
            self._lose(at(where, "prefixItems"), "The type of each single item cannot be expressed: any items fit.")

    def _object(self, made: Schema, schema: Mapping[str, Any], where: str, known: Mapping[str, str]) -> None:
        if schema.get("properties"):
            made["properties"] = {
                name: self.convert(part, at(where, "properties", name), known)
                for name, part in schema["properties"].items()
            }
        if schema.get("required"):
            made["required"] = list(schema["required"])
        further, patterns = schema.get("additionalProperties"), schema.get("patternProperties") or {}
        if patterns:
            self._lose(
                at(where, "patternProperties"), "The allowed names of members cannot be expressed: any names fit."
            )
            if further is False and len(patterns) == 1:
                pattern, part = next(iter(patterns.items()))
                made["additionalProperties"] = self.convert(part, at(where, "patternProperties", pattern), known)
            return
        if isinstance(further, dict):
            further = self.convert(further, at(where, "additionalProperties"), known)
        if further is False or (isinstance(further, dict) and further):
            made["additionalProperties"] = further

    def _combined(self, made: Schema, key: str, parts: Iterable[Any], where: str, known: Mapping[str, str]) -> Schema:
        """`allOf` with one part, and `anyOf` or `oneOf` with one part and null, become that part. Any other combination
        becomes as permissive as the types of its parts require."""
        listed = list(parts)
        some = [
            self.convert(part, at(where, key, n), known)
            for n, part in enumerate(listed)
            if key == "allOf" or not _is_null(part)
        ]
        nullable = len(some) < len(listed) or (all if key == "allOf" else any)(map(self._nullable, some))
        beside = {name: value for name, value in made.items() if name in _ANNOTATIONS or name.startswith("x-")}
        if nullable:
            beside["x-nullable"] = True
        if len(some) == 1 and beside.keys() >= made.keys():
            return self._laid_over(some[0], beside, where)
        if not some:
            return {**made, **beside}
        common = self._common([self.resolved(branch) for branch in some]) if key != "allOf" else None
        if common is None or len(beside) < len(made.keys() | beside.keys()):
            self._lose(
                at(where, key),
                "A choice or a combination of schemas cannot be expressed: any value of their common type fits.",
            )
            types = {self.resolved(branch).get("type") for branch in some}
            kind = types.pop() if len(types) == 1 else None
            common = {"type": kind, **({"items": {}} if kind == "array" else {})} if kind else {}
        return {**common, **made, **beside}

    def _nullable(self, branch: Schema) -> bool:
        return self.resolved(branch).get("x-nullable") is True

    def _common(self, branches: list[Schema]) -> Schema | None:
        """One schema for all of them, if nothing is lost by it: enums of one type, and numbers."""
        types = {branch.get("type") for branch in branches}
        keys = {key for branch in branches for key in branch} - {"title", "description", "x-nullable"}
        if types == {"integer", "number"} and keys == {"type"}:
            return {"type": "number"}
        if len(types) == 1 and keys == {"type", "enum"} and all("enum" in branch for branch in branches):
            values = [value for branch in branches for value in branch["enum"]]
            return {"type": types.pop(), "enum": [value for n, value in enumerate(values) if value not in values[:n]]}
        return None

    def _with_default(self, made: Schema, schema: Mapping[str, Any], where: str) -> Schema:
        """With the default, if it fits."""
        default = schema.get("default")
        if default is None:
            return made
        target = self.resolved(made)
        if is_json(default) and fits(default, target) and fits(default, schema):
            return self._laid_over(made, {"default": default}, where)
        self._lose(at(where, "default"), "The default does not fit the schema, and is omitted.")
        return made


def _is_null(part: Any) -> bool:
    """Whether only null fits."""
    if not isinstance(part, dict):
        return False
    return part.get("type") == "null" or part.get("const", ...) is None or part.get("enum") == [None]


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
