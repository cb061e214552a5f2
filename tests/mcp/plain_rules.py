"""The rules of strict clients of the Model Context Protocol as a check: the places of a schema that break one."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

NEVER = {"$ref", "$defs", "definitions", "$id", "$schema", "prefixItems", "exclusiveMinimum", "exclusiveMaximum"}
NEVER |= {"discriminator", "nullable"}
NULL = {"type": "null"}
UNIONS = {"anyOf", "oneOf", "allOf"}
BY_NAME = ("properties", "patternProperties", "dependentSchemas")
NESTED = ("items", "contains", "propertyNames", "not", "if", "then", "else", "additionalProperties", "contentSchema")


def breaches(schema: Any, place: str = "", *, nullable: bool = False) -> Iterator[str]:
    """Each place with what is wrong there. `nullable` allows null in place of a member that may be left out."""
    for where, part in _parts(schema, place):
        yield from (f"{where}: {name}" for name in NEVER & part.keys())
        if isinstance(part.get("type"), list):
            yield f"{where}: a list of types"
        if part.get("type") == "object" and not isinstance(part.get("properties"), dict):
            yield f"{where}: an object without properties"
        if part.get("type") == "array" and not isinstance(part.get("items"), dict):
            yield f"{where}: an array without items"
        if not nullable:
            yield from (f"{where}/{name}: null in place of nothing" for name in _nullable(part))


def _nullable(schema: Json) -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        unions = [each for key in UNIONS for each in part.get(key, ())]
        if name not in schema.get("required", ()) and NULL in unions and unions != [NULL] * len(unions):
            yield name


def _parts(schema: Any, place: str) -> Iterator[tuple[str, Json]]:
    """The schema and those in it."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    inner = [(f"{key}/{name}", part) for key in BY_NAME for name, part in schema.get(key, {}).items()]
    inner += [(key, schema.get(key)) for key in NESTED]
    inner += [(f"{key}/{number}", part) for key in UNIONS for number, part in enumerate(schema.get(key, ()))]
    for name, part in inner:
        yield from _parts(part, f"{place}/{name}")


def root_breaches(schema: Json, *, nullable: bool = False) -> list[str]:
    """The same of a schema of all arguments, or of a result: an object, and no union."""
    found = [] if schema.get("type") == "object" else ["the root is no object"]
    found += [f"the root has {name}" for name in UNIONS & schema.keys()]
    return [*found, *breaches(schema, nullable=nullable)]
