"""The requests and responses of triggers as JSON Schema (2020-12), made by pydantic, with models as shared components.

A type without a JSON Schema becomes any JSON, with a description that says so. Defaults that may be secrets, or paths
on this server, are omitted.
"""

import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import from_json, to_json
from pydantic_core.core_schema import BytesSchema

from postern.authoring.reply import Reply
from postern.authoring.workflow import Workflow
from postern.openapi.json_values import fits
from postern.openapi.operations import Operation
from postern.openapi.schema_keywords import SCHEMAS_BY_NAME, is_well_formed
from postern.plain_text import plain
from postern.redaction import is_secret_name, without_secrets, without_tokens

Json = dict[str, Any]
Key = tuple[str, str]
"""The name of a workflow, and its part: BODY, RESULT, or a parameter of its path, query or header."""
Input = tuple[Key, JsonSchemaMode, TypeAdapter[Any]]

BODY = "(body)"
RESULT = "(result)"

COMPONENT = "#/components/schemas/"
PROBLEM = "Problem"
UNKNOWN: Json = {"description": "Any JSON: its type has no JSON Schema."}

_SECRET_FORMATS = ("password", "path", "file-path", "directory-path")
_SHOWN_VALUES = ("default", "example", "examples")
_VALUES = (*_SHOWN_VALUES, "const", "enum", "discriminator", "dependentRequired")
_WITH_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


class Generator(GenerateJsonSchema):
    """Pydantic's generator without warnings: a default that cannot be written is omitted. Bytes are a UTF-8 string, as
    in JSON, and not a file (`binary`). An author's model named Problem is renamed, because Problem is the name of the
    RFC 9457 schema."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Suppress the warning: its detail may hold a default value."""

    def bytes_schema(self, schema: BytesSchema) -> JsonSchemaValue:
        """The schema of bytes."""
        made = super().bytes_schema(schema)
        return {key: value for key, value in made.items() if (key, value) != ("format", "binary")}

    def normalize_name(self, name: str) -> str:
        """A name that a component can have."""
        plain = super().normalize_name(name)
        return "ProblemOfWorkflow" if plain == PROBLEM else plain


@dataclass(frozen=True, slots=True)
class Schemas:
    """The schema of each part, and the components that the schemas refer to."""

    parts: Mapping[Key, Json]
    components: Mapping[str, Json]

    def of(self, workflow: Workflow, part: str) -> Json:
        """The schema of BODY, RESULT or a parameter; {} if it may be any JSON."""
        return self.parts.get((workflow.name, part), {})


def schemas_of(operations: Iterable[Operation]) -> Schemas:
    """The schemas of all requests and responses of these operations, made together: models of the same name in two
    modules get two names."""
    workflows = {operation.workflow.name: operation.workflow for operation in operations}.values()
    parts: dict[Key, Json] = {}
    inputs: list[Input] = []
    for key, mode, adapter in (each for workflow in workflows for each in _adapters(workflow)):
        if adapter is not None:
            inputs.append((key, mode, adapter))
        parts[key] = dict(UNKNOWN)
    try:
        made, defined = _together(inputs)
    except Exception:  # PydanticInvalidForJsonSchema, and any exception of an author's own type
        made, defined = _together([each for each in inputs if _has_schema(each)])
    components = dict(sorted(defined.get("$defs", {}).items()))
    parts |= {key: schema for (key, _), schema in made.items()}
    known = {COMPONENT + name: schema for name, schema in components.items()}
    return Schemas(
        {key: clean(schema, known) for key, schema in parts.items()},
        {name: clean(schema, known) for name, schema in components.items()},
    )


def result_type(workflow: Workflow) -> Any:
    """The annotation of the function's result; Any if there is none."""
    try:
        return typing.get_type_hints(workflow.function, include_extras=True).get("return", Any)
    except Exception:  # an annotation may be any expression
        return Any


def replies(annotation: Any) -> bool:
    """Whether the result may be a Reply, whose status and body the author chooses."""
    if annotation is Reply:
        return True
    several = get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated)
    return several and any(replies(each) for each in get_args(annotation))


def references(schema: Any) -> Iterator[str]:
    """The names of the components that a schema refers to, at any depth."""
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str):
            yield target.removeprefix(COMPONENT)
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


def reachable(schemas: Iterable[Any], components: Mapping[str, Json]) -> dict[str, Json]:
    """The components that these schemas need, directly or indirectly, in order of their names."""
    found: set[str] = set()
    waiting = [name for schema in schemas for name in references(schema)]
    while waiting:
        name = waiting.pop()
        if name in components and name not in found:
            found.add(name)
            waiting.extend(references(components[name]))
    return {name: components[name] for name in sorted(found)}


def clean(schema: Any, known: Mapping[str, Json], name: str = "") -> Any:
    """A well-formed schema in plain JSON. All of its references resolve, and default values that do not fit or should
    not be shown are omitted. `known` are the components by their references, `name` is the property that the schema
    describes."""
    if isinstance(schema, list):
        return [clean(_as_object(each), known, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    target = schema.get("$ref", "")
    if target and not (isinstance(target, str) and target in known):
        return dict(UNKNOWN)
    hidden = is_secret_name(name) or schema.get("format") in _SECRET_FORMATS or schema.get("writeOnly") is True
    made = {
        key: _cleaned(key, value, known, name)
        for key, value in schema.items()
        if is_well_formed(key, value) and not (hidden and key in _SHOWN_VALUES) and _kept(key, value)
    }
    if "default" in made and not fits(made["default"], _kind(known.get(target, {})) | made):
        del made["default"]
    return made


def _kind(component: Json) -> Json:
    """The keywords of a component that describe the type of its values."""
    return {key: component[key] for key in ("type", "enum") if key in component and is_well_formed(key, component[key])}


def _as_object(schema: Any) -> Any:
    """A schema that is true or false, as an object that every reader understands."""
    return ({} if schema else {"not": {}}) if isinstance(schema, bool) else schema


def _kept(key: str, value: Any) -> bool:
    """Whether a keyword of a schema can be shown, and written as JSON."""
    return _showable(value) if key in _SHOWN_VALUES else not isinstance(value, float) or isfinite(value)


def _cleaned(key: str, value: Any, known: Mapping[str, Json], name: str) -> Any:
    """A keyword of a schema: some hold schemas by name, some values or names, the others schemas."""
    if key in SCHEMAS_BY_NAME and isinstance(value, dict):
        return {each: clean(_as_object(part), known, each) for each, part in value.items()}
    if key in ("title", "description") and isinstance(value, str):
        return plain(without_tokens(value), lines=True)
    return value if key in _VALUES else clean(value, known, name)


def _adapters(workflow: Workflow) -> Iterator[tuple[Key, JsonSchemaMode, TypeAdapter[Any] | None]]:
    """The typed parts of a workflow. The adapter is None if pydantic does not know the type."""
    for parameter in workflow.path_parameters:
        yield (workflow.name, parameter.name), "validation", parameter.adapter
    for requested in workflow.parameters:
        yield (workflow.name, requested.name), "validation", requested.adapter
    if workflow.body is not None and workflow.body.adapter is not None:
        yield (workflow.name, BODY), "validation", workflow.body.adapter
    annotation = result_type(workflow)
    if annotation is not Any and not replies(annotation):
        yield (workflow.name, RESULT), "serialization", _adapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(annotation)
    except Exception:  # of pydantic, or of an author's own type
        return None


def _has_schema(part: Input) -> bool:
    try:
        _together([part])
    except Exception:
        return False
    return True


def _together(inputs: list[Input]) -> tuple[dict[tuple[Key, JsonSchemaMode], Json], Json]:
    made, defined = TypeAdapter.json_schemas(inputs, ref_template=COMPONENT + "{model}", schema_generator=Generator)
    return {key: _plain(schema) for key, schema in made.items()}, _plain(defined)


def _plain(schema: Any) -> Any:
    """As plain JSON, except numbers that are not finite: `clean` drops them."""
    return from_json(to_json(schema, fallback=_type_name, inf_nan_mode="constants"))


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"


def _showable(value: Any) -> bool:
    """Whether a default or example is JSON, and holds nothing that looks like a secret."""
    if isinstance(value, str):
        return without_tokens(value) == value and not _WITH_PASSWORD.search(value)
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, list):
        return all(map(_showable, value))
    if isinstance(value, dict):
        # Readers of the document would follow a member named $ref.
        return without_secrets(value) == value and "$ref" not in value and all(map(_showable, value.values()))
    return True
