"""The valid values of JSON Schema's keywords. An author's mistake, such as `"required": true` on a member, costs only
that keyword and never the document. Pure.

Source: the meta-schemas of JSON Schema 2020-12.
"""

from collections.abc import Callable, Mapping
from typing import Any

from postern.openapi.json_values import TYPES, is_of, is_pattern

_LENGTHS = frozenset(
    (
        *("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"),
        *("maxContains", "minContains"),
    )
)
_SCHEMA_LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
SCHEMAS_BY_NAME = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs"))
_SCHEMAS = (
    *("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_NAMING = ("$schema", "$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$vocabulary")
"""Keywords that give a schema its own base URI: references would be resolved elsewhere."""

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("title", "description", "format", "pattern", "contentEncoding", "contentMediaType"), "string"),
    **dict.fromkeys(("uniqueItems", "readOnly", "writeOnly", "deprecated", "nullable"), "boolean"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
    **dict.fromkeys(_LENGTHS, "integer"),
    **dict.fromkeys(("discriminator", "dependentRequired", "xml", "externalDocs"), "object"),
    **dict.fromkeys(("enum", "examples"), "array"),
}


def is_well_formed(keyword: str, value: Any) -> bool:
    """Whether the keyword may have this value. An unknown keyword may have any."""
    shape = _SHAPES.get(keyword)
    return is_of(value, _KINDS.get(keyword)) and (shape is None or shape(value))


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_schema_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_schema_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and len(set(value)) == len(value)


def _is_type(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _is_list_of_names(names) and bool(names) and set(names) <= {*TYPES, "null"}


def _never(_: Any) -> bool:
    return False


_SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _is_list_of_names,
    "enum": bool,
    "pattern": is_pattern,
    "discriminator": lambda value: isinstance(value.get("propertyName"), str),
    "multipleOf": lambda value: value > 0,
    **dict.fromkeys(_LENGTHS, lambda value: value >= 0),
    **dict.fromkeys(_SCHEMAS, _is_schema),
    **dict.fromkeys(_SCHEMA_LISTS, _is_schema_list),
    **dict.fromkeys(SCHEMAS_BY_NAME, _is_schema_mapping),
    **dict.fromkeys(_NAMING, _never),
}
