"""Schemas of OpenAPI 3.1 (JSON Schema 2020-12) as those of OpenAPI 2.0, in the part of it that Power Platform takes.

Every value that fits a schema also fits what becomes of it: where the old language cannot say something, the result
asks for less, never for more, and the loss is told. OpenAPI 2.0: swagger.io/specification/v2, Schema Object. What the
platform takes of it: learn.microsoft.com/connectors/custom-connectors, and the schemas that Microsoft publishes for
connectors.
"""

import math
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from app.openapi.json_values import is_ecma, is_json, is_of, kind_of
from app.openapi.loss import Loss, at

Schema = dict[str, Any]

COMPONENTS = "#/components/schemas/"
DEFINITIONS = "#/definitions/"
FORMATS = frozenset(
    (
        *("int32", "int64", "float", "double", "byte", "binary", "date", "date-time", "password", "date-no-tz"),
        *("email", "html", "uri", "uuid"),
    )
)
"""The formats that the platform knows."""

_ANNOTATIONS = ("title", "description", "default", "example", "readOnly")
_AS_THEY_ARE = (
    *("title", "description", "readOnly", "multipleOf", "maximum", "minimum", "maxLength", "minLength"),
    *("maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties"),
)
_SILENT = frozenset(("$schema", "$id", "$comment", "$defs", "$anchor", "discriminator", "contentMediaType"))
_HANDLED = frozenset(
    (
        *_AS_THEY_ARE,
        *("type", "format", "enum", "const", "default", "example", "examples", "pattern", "required", "$ref"),
        *("items", "prefixItems", "properties", "patternProperties", "additionalProperties", "anyOf", "oneOf", "allOf"),
        *("exclusiveMinimum", "exclusiveMaximum", "contentEncoding", "nullable"),
    )
)


class _Component(NamedTuple):
    """A schema with a name, where it stands, and the names that are known there."""

    schema: Any
    where: str
    scope: Mapping[str, str]


class SwaggerSchemas:
    """Converts the schemas of one document. `definitions` are those that were needed so far, and `losses` what could
    not be said. A definition never refers to itself, by whatever way: the platform does not take that."""

    def __init__(self, components: Mapping[str, Any]) -> None:
        self.definitions: dict[str, Schema] = {}
        self.losses: list[Loss] = []
        self._names: dict[str, str] = {}
        self._open: list[str] = []
        self._components = {
            key: _Component(schema, at("", "components", "schemas", key), {}) for key, schema in components.items()
        }

    def convert(self, schema: Any, where: str, scope: Mapping[str, str] | None = None) -> Schema:
        """The schema at this place of the document, as OpenAPI 2.0 says it."""
        known = scope or {}
        if not isinstance(schema, dict):
            if schema is False:
                self._lose(where, "Nothing fits here, which cannot be said: anything does.")
            return {}
        if "$defs" in schema:
            known = self._hoisted(schema["$defs"], where, known)
        if "$ref" in schema:
            return self._reference(schema, where, known)
        for key in schema:
            if key not in _HANDLED and key not in _SILENT and not key.startswith("x-"):
                self._lose(at(where, key), f"The rule {key!r} cannot be said: more fits than did before.")
        made = self._plain(schema, where, known)
        for key in ("allOf", "anyOf", "oneOf"):
            if schema.get(key):
                made = self._combined(made, key, schema[key], where, known)
        return self._with_default(made, schema, where)

    def resolved(self, schema: Schema) -> Schema:
        """The converted schema itself, where it is a reference to a definition."""
        reference = schema.get("$ref")
        return self.definitions[reference.removeprefix(DEFINITIONS)] if reference else schema

    def _lose(self, where: str, what: str) -> None:
        loss = Loss(where, what)
        if loss not in self.losses:
            self.losses.append(loss)

    # Names and references

    def _hoisted(self, definitions: Mapping[str, Any], where: str, known: Mapping[str, str]) -> dict[str, str]:
        """The names of `$defs`, each standing for a component from now on."""
        keys = {name: at(where, "$defs", name) for name in definitions}
        scope = {**known, **keys}
        for name, schema in definitions.items():
            self._components[keys[name]] = _Component(schema, keys[name], scope)
        return scope

    def _reference(self, schema: Mapping[str, Any], where: str, known: Mapping[str, str]) -> Schema:
        """A reference alone stays one. With something beside it, which OpenAPI 2.0 overlooks, it is written out."""
        target = str(schema["$ref"])
        key = known.get(target.removeprefix("#/$defs/"), "") if target.startswith("#/$defs/") else ""
        key = key or _unescaped(target.removeprefix(COMPONENTS))
        if key not in self._components:
            self._lose(where, "It refers to a schema that is not in this document: anything fits.")
            return {}
        if key in self._open:
            self._lose(where, "The schema contains itself, which the platform does not take: it is cut off here.")
            return {"type": "object"} if _is_object(self._components[key].schema) else {}
        name = self._define(key)
        beside = {part: schema[part] for part in _ANNOTATIONS if part in schema}
        beside |= {part: value for part, value in schema.items() if part.startswith("x-")}
        if not beside:
            return {"$ref": DEFINITIONS + name}
        beside.pop("default", None)
        return self._with_default({**deepcopy(self.definitions[name]), **beside}, schema, where)

    def _define(self, key: str) -> str:
        """The name of this component's definition, which is made where it is not there yet."""
        if key not in self._names:
            self._names[key] = self._new_name(key)
        name = self._names[key]
        if name not in self.definitions:
            component = self._components[key]
            self._open.append(key)
            made = self.convert(component.schema, component.where, component.scope)
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
        """All but references and what combines schemas."""
        made: Schema = {}
        self._type(made, schema, where)
        self._values(made, schema, where)
        self._bounds(made, schema, where)
        self._text(made, schema, where)
        self._array(made, schema, where, known)
        self._object(made, schema, where, known)
        made |= {key: value for key, value in schema.items() if key.startswith("x-")}
        return made

    def _type(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
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
            self._lose(at(where, "type"), f"One of {', '.join(rest)} cannot be said: anything fits.")

    def _values(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
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
            self._lose(at(where, "enum"), "Values of several types cannot be listed: anything fits.")
        elif some:
            made.setdefault("type", kinds.pop())
            made["enum"] = some

    def _bounds(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
        for key in _AS_THEY_ARE:
            if key in schema and is_json(schema[key]):
                made[key] = schema[key]
        for bound, tighter in (("minimum", max), ("maximum", min)):
            exclusive = f"exclusive{bound.capitalize()}"
            limit = schema.get(exclusive)
            if isinstance(limit, bool) or limit is None or not is_json(limit):
                continue
            if tighter(limit, made.get(bound, limit)) == limit:
                made |= {bound: limit, exclusive: True}
        examples = schema.get("examples") or []
        shown = [schema["example"]] if "example" in schema else list(examples)[:1]
        if shown and is_json(shown[0]):
            made["example"] = shown[0]
        if len(examples) > 1:
            self._lose(at(where, "examples"), "Only the first example can be shown.")

    def _text(self, made: Schema, schema: Mapping[str, Any], where: str) -> None:
        """What says how a text is written."""
        written = schema.get("format")
        if schema.get("contentEncoding") == "base64":
            written = "byte"
        elif "contentEncoding" in schema:
            self._lose(at(where, "contentEncoding"), "How the text is encoded cannot be said.")
        if isinstance(written, str) and re.fullmatch(r"uuid\d", written):
            written = "uuid"
        if written in FORMATS:
            made["format"] = written
        elif written is not None:
            self._lose(at(where, "format"), f"The platform knows no format {written!r}: any text of this type fits.")
        if "pattern" in schema and not is_ecma(schema["pattern"]):
            self._lose(at(where, "pattern"), "The pattern is not one of ECMA 262: any text fits.")
        elif "pattern" in schema:
            made["pattern"] = schema["pattern"]

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
            self._lose(at(where, "prefixItems"), "What each item is cannot be said one by one: any items fit.")

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
            self._lose(at(where, "patternProperties"), "Which names of members fit cannot be said: any do.")
            if further is False and len(patterns) == 1:
                pattern, part = next(iter(patterns.items()))
                made["additionalProperties"] = self.convert(part, at(where, "patternProperties", pattern), known)
            return
        if isinstance(further, dict):
            further = self.convert(further, at(where, "additionalProperties"), known)
        if further not in (None, True, {}):
            made["additionalProperties"] = further

    def _combined(self, made: Schema, key: str, parts: Iterable[Any], where: str, known: Mapping[str, str]) -> Schema:
        """`allOf` of one, and `anyOf` or `oneOf` of one and null, are that one. Any other combination is as free as the
        types of its parts allow."""
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
            return {**deepcopy(self.resolved(some[0])), **beside} if beside else some[0]
        if not some:
            return {**made, **beside}
        common = self._common([self.resolved(branch) for branch in some]) if key != "allOf" else None
        if common is None or len(beside) < len(made.keys() | beside.keys()):
            self._lose(
                at(where, key),
                "A choice among schemas, or several at once, cannot be said: anything of their common type fits.",
            )
            types = {self.resolved(branch).get("type") for branch in some}
            kind = types.pop() if len(types) == 1 else None
            common = {"type": kind, **({"items": {}} if kind == "array" else {})} if kind else {}
        return {**common, **made, **beside}

    def _nullable(self, branch: Schema) -> bool:
        return self.resolved(branch).get("x-nullable") is True

    def _common(self, branches: list[Schema]) -> Schema | None:
        """One schema for all of them, where nothing is lost by it: lists of values of one type, and numbers."""
        types = {branch.get("type") for branch in branches}
        keys = {key for branch in branches for key in branch} - {"title", "description", "x-nullable"}
        if types == {"integer", "number"} and keys == {"type"}:
            return {"type": "number"}
        if len(types) == 1 and keys == {"type", "enum"} and all("enum" in branch for branch in branches):
            values = [value for branch in branches for value in branch["enum"]]
            return {"type": types.pop(), "enum": [value for n, value in enumerate(values) if value not in values[:n]]}
        return None

    def _with_default(self, made: Schema, schema: Mapping[str, Any], where: str) -> Schema:
        """With the default, where it is one that fits."""
        default = schema.get("default")
        if default is None:
            return made
        if "$ref" in made:
            made = deepcopy(self.resolved(made))
        made.pop("default", None)
        if is_json(default) and is_of(default, made.get("type")) and default in made.get("enum", [default]):
            return {**made, "default": default}
        self._lose(at(where, "default"), "The default does not fit the schema, and is not shown.")
        return made


def _is_null(part: Any) -> bool:
    """Whether nothing but null is meant."""
    if not isinstance(part, dict):
        return False
    return part.get("type") == "null" or part.get("const", ...) is None or part.get("enum") == [None]


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
