"""What a type says of the names that come as texts: which have several values, which are files, and which may be left
out. Forms, queries and header fields know no types. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from postern.authoring.inputs import Form, UploadFile

Schema = Mapping[str, Any]

_SEVERAL = frozenset({"list", "set", "frozenset", "tuple", "generator"})
_OF_FIELDS = frozenset({"model-fields", "dataclass-args", "typed-dict"})
_AROUND = frozenset(
    {"model", "dataclass", "default", "nullable", "custom-error", "definitions"}
    | {"function-before", "function-after", "function-wrap"}
)
_MOST_DEEP = 50


class Shape(NamedTuple):
    """How texts become a value of a type: whether it takes several, may be a text itself, is made of files, and has a
    value for one that is left out."""

    several: bool = False
    text: bool = False
    file: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class FormType:
    """The type of a form: its limits, and the shape of each field by each name that it may be sent under."""

    limits: Form
    fields: Mapping[str, Shape]

    @property
    def files(self) -> bool:
        """Whether it has files, which only `multipart/form-data` can carry."""
        return any(shape.file for shape in self.fields.values())


def form_type(adapter: TypeAdapter[Any], limits: Form) -> FormType | None:
    """The type of a form; None if it has no fields, as only models, dataclasses and TypedDicts have."""
    schema = adapter.core_schema
    definitions = _definitions(schema)
    found = _resolved(schema, definitions)
    return FormType(limits, dict(_fields(found, definitions))) if found.get("type") in _OF_FIELDS else None


def load_parser() -> None:
    """Import the parser of forms with the first workflow that takes one, so that its first request does not wait."""
    import_module("starlette.formparsers")


def shape_of(adapter: TypeAdapter[Any]) -> Shape:
    """The shape of a single type."""
    return _shape(adapter.core_schema, _definitions(adapter.core_schema))


def has_fields(adapter: TypeAdapter[Any]) -> bool:
    """Whether the type is made of fields, so that no single text is a value of it."""
    return form_type(adapter, Form()) is not None


def has_files(adapter: TypeAdapter[Any]) -> bool:
    """Whether a file is a part of the type, at any depth."""
    left: list[Any] = [adapter.core_schema]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            if node.get("cls") is UploadFile:
                return True
            left += node.values()
        elif isinstance(node, list | tuple):
            left += node
    return False


def _fields(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[tuple[str, Shape]]:
    fields = schema["fields"]
    named = fields.items() if isinstance(fields, Mapping) else [(each["name"], each) for each in fields]
    for name, field in named:
        shape = _shape(field["schema"], definitions)
        if field.get("required") is False:
            shape = shape._replace(optional=True)
        for each in {name, *_names(field.get("validation_alias"))}:
            yield each, shape


def _names(alias: Any) -> Iterator[str]:
    """The names in an alias: a name, a path that begins with one, or a list of paths."""
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, list):
        for each in alias:
            yield from _names(each[0] if isinstance(each, list) and each else each)


def _shape(schema: Schema, definitions: Mapping[str, Schema], depth: int = 0) -> Shape:
    kind = schema.get("type")
    if depth > _MOST_DEEP:
        return Shape()
    if kind == "union":
        choices = [each[0] if isinstance(each, tuple) else each for each in schema["choices"]]
        return _together([_shape(each, definitions, depth + 1) for each in choices])
    if kind in _SEVERAL:
        items = schema.get("items_schema") or {}
        inner = [items] if isinstance(items, Mapping) else [*items]
        return Shape(several=True, file=any(_shape(each, definitions, depth + 1).file for each in inner))
    if kind == "is-instance":
        return Shape(file=schema.get("cls") is UploadFile)
    if kind in ("str", "any"):
        return Shape(text=True)
    inside = _inside(schema, definitions)
    if inside is None:
        return Shape()
    found = _shape(inside, definitions, depth + 1)
    return found._replace(optional=True) if kind == "default" else found


def _together(shapes: list[Shape]) -> Shape:
    return Shape(*(any(values) for values in zip(*shapes, strict=True)))


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    for _ in range(_MOST_DEEP):
        if schema.get("type") in _OF_FIELDS:
            return schema
        inside = _inside(schema, definitions)
        if inside is None:
            return schema
        schema = inside
    return schema


def _inside(schema: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    """The schema that this one only wraps."""
    kind = schema.get("type")
    if kind == "definition-ref":
        return definitions.get(schema["schema_ref"])
    if kind == "chain":
        first: Schema = schema["steps"][0]
        return first
    name = {"lax-or-strict": "lax_schema", "json-or-python": "python_schema"}.get(str(kind), "schema")
    inside: Schema | None = schema.get(name) if name != "schema" or kind in _AROUND else None
    return inside


def _definitions(schema: Schema) -> Mapping[str, Schema]:
    return {each["ref"]: each for each in schema.get("definitions", ())} if schema.get("type") == "definitions" else {}
