"""Types whose validation takes time without a limit: a fault when the workflow loads. A caller could hold the event
loop with a few hundred bytes otherwise.

- A union whose members both lead back to it through the same member of the JSON: each level of nesting doubles the
  work. A discriminator, or different names, lets one member of the union read each object.
- A pattern of Python's `re`, which backtracks. The engine that pydantic uses by itself does not.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from postern.authoring.schema_kinds import ARRAYS, MAPS, NO_SCHEMAS

Schema = Mapping[str, Any]
Way = tuple[str, str, Any]
"""How a type goes on below: in an `array` or an `object`, under which name or position, in which schema."""

ANY = "*"
"""Under every name or position."""
_WITH_FIELDS = frozenset({"model-fields", "typed-dict", "dataclass-args", "named-tuple"})


def fault_of(schema: Schema) -> str:
    """What is wrong with a type, and how to fix it; "" if nothing is."""
    definitions = {part["ref"]: part for part in _parts(schema) if "ref" in part}
    for part in _parts(schema):
        if part.get("type") == "union" and (name := _doubled(part, definitions)):
            return (
                f"it has a union that leads back to itself through {name} of more than one of its members, so each "
                "level of nesting multiplies the work. Let one field tell them apart, as in "
                "`Annotated[Union[And, Or], Field(discriminator='op')]` with `op: Literal['and']` in one of them"
            )
    if pattern := _backtracking(schema, "rust-regex"):
        return (
            f"the pattern {pattern[:80]!r} is read by Python's re, which a caller's text can hold for hours. Write "
            "it as a string, and leave out `regex_engine`: pydantic's own engine takes no such time, and has no "
            "look-around and no back-references"
        )
    return ""


def _doubled(union: Schema, definitions: Mapping[str, Any]) -> str:
    """The name through which two members of a union lead back to it; "" if there is none."""
    seen: list[tuple[str, str]] = []
    for choice in union["choices"]:
        member = choice[0] if isinstance(choice, tuple) else choice
        own = {
            (kind, key) for kind, key, below in _ways(member, definitions, set()) if _leads(below, union, definitions)
        }
        for kind, key in own:
            if any(kind == other and (key == name or ANY in (key, name)) for other, name in seen):
                return "the items" if kind == "array" else "the values" if key == ANY else repr(key)
        seen += own
    return ""


def _ways(schema: Any, definitions: Mapping[str, Any], entered: set[str]) -> Iterator[Way]:
    """How a type goes on one level of JSON below."""
    kind = schema.get("type")
    if kind == "definition-ref":
        if schema["schema_ref"] not in entered:
            entered.add(schema["schema_ref"])
            yield from _ways(definitions[schema["schema_ref"]], definitions, entered)
    elif kind in ARRAYS:
        yield "array", ANY, schema.get("items_schema", {})
    elif kind == "tuple":
        variadic = schema.get("variadic_item_index")
        for position, item in enumerate(schema["items_schema"]):
            yield "array", str(position) if variadic is None or position < variadic else ANY, item
    elif kind in MAPS:
        yield "object", ANY, schema.get("values_schema", {})
    elif kind in _WITH_FIELDS:
        yield from _of_fields(schema["fields"], positions=kind == "named-tuple")
        yield "object", ANY, schema.get("extras_schema", {})
    else:
        for inner in _inner(schema):
            yield from _ways(inner, definitions, entered)


def _of_fields(fields: Any, *, positions: bool) -> Iterator[Way]:
    """How a type with fields goes on. Those of a dataclass are a list. A named tuple is read from an array too."""
    named = fields.items() if isinstance(fields, dict) else [(each["name"], each) for each in fields]
    for position, (name, field) in enumerate(named):
        if positions:
            yield "array", str(position), field["schema"]
        for key in {name, *_aliases(field.get("validation_alias"))}:
            yield "object", key, field["schema"]


def _aliases(alias: Any) -> set[str]:
    """The names at the beginning of each path of an alias."""
    if alias is None or isinstance(alias, str):
        return {alias} if alias else set()
    paths = alias if isinstance(alias[0], list) else [alias]
    return {str(path[0]) for path in paths}


def _leads(schema: Any, union: Schema, definitions: Mapping[str, Any]) -> bool:
    """Whether a type has this union in it, at any depth."""
    left, entered = [schema], set()
    while left:
        part = left.pop()
        if part is union:
            return True
        if id(part) not in entered:
            entered.add(id(part))
            left += [definitions[part["schema_ref"]]] if part.get("type") == "definition-ref" else _inner(part)
    return False


def _backtracking(schema: Any, engine: str) -> str:
    """A pattern of this schema that Python's `re` reads. `engine` is that of the type around it."""
    if "config" in schema:
        engine = schema["config"].get("regex_engine", "rust-regex")
    pattern = schema.get("pattern") if schema.get("type") == "str" else None
    if isinstance(pattern, re.Pattern):
        return str(pattern.pattern)
    if pattern is not None and schema.get("regex_engine", engine) == "python-re":
        return str(pattern)
    return next((found for inner in _inner(schema) if (found := _backtracking(inner, engine))), "")


def _parts(schema: Schema) -> Iterator[Schema]:
    """A schema and all schemas in it."""
    yield schema
    for inner in _inner(schema):
        yield from _parts(inner)


def _inner(schema: Schema) -> list[Any]:
    """The schemas directly in a schema, those in lists and by names among them."""
    found: list[Any] = []
    left = [value for name, value in schema.items() if name not in NO_SCHEMAS]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("type"), str):
                found.append(value)
            else:
                left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    return found
