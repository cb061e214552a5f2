"""OpenAPI 3.1 in OpenAPI 3.0: a validator of 3.0 reads them, values that fit still fit, losses are listed."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, validate
from pydantic import TypeAdapter

from postern.openapi.document import openapi_document
from postern.openapi.openapi30 import openapi30_of
from postern.openapi.openapi30_schemas import NULL, Schemas30
from postern.settings.installation import Installation
from tests.examples import example_count
from tests.openapi import nasty
from tests.openapi.test_any_schema import TYPES
from tests.openapi.wrapped import document_of
from tests.table import table

pytestmark = pytest.mark.slow

Json = dict[str, Any]
REF = {"$ref": "#/components/schemas/A"}
INSTALLATION = Installation("https://postern.example.com", "https://login.microsoftonline.com", nasty.TENANT)


def convert(schema: Any) -> tuple[Json, list[str]]:
    schemas = Schemas30()
    made = schemas.convert(schema, "")
    return made, [loss.where for loss in schemas.losses]


@table(
    ("schema", "expected", "lost"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}, []),
        ({"type": "null"}, NULL, []),
        ({"const": None}, NULL, []),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None}, None, []),
        ({"anyOf": [REF, {"type": "null"}], "title": "T"}, {"anyOf": [REF, NULL], "title": "T"}, []),
        ({"type": ["string", "integer"]}, {"allOf": [{"anyOf": [{"type": "string"}, {"type": "integer"}]}]}, []),
        ({"type": ["array", "null"]}, {"type": "array", "nullable": True, "items": {}}, []),
        ({"type": ["integer", "number"]}, {"type": "number"}, []),
        ({"type": "integer", "exclusiveMinimum": 3}, {"type": "integer", "minimum": 3, "exclusiveMinimum": True}, []),
        ({"exclusiveMinimum": 3, "minimum": 5}, {"minimum": 5}, []),
        ({"exclusiveMaximum": 5, "maximum": 5}, {"maximum": 5, "exclusiveMaximum": True}, []),
        ({"const": "a"}, {"enum": ["a"]}, []),
        ({"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}, []),
        ({"type": "string", "examples": ["a"]}, {"type": "string", "example": "a"}, []),
        ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}, ["/examples"]),
        (REF, REF, []),
        ({**REF, "description": "D", "default": 1}, {"allOf": [REF], "description": "D", "default": 1}, []),
        (True, {}, []),
        (False, {"not": {}}, []),
        ({"type": "object", "additionalProperties": {"const": 1}}, None, []),
        ({"type": "object", "propertyNames": {"pattern": "^a"}}, {"type": "object"}, ["/propertyNames"]),
        (
            {"type": "object", "patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            {"type": "object", "additionalProperties": {"type": "string"}},
            ["/patternProperties"],
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "maxItems": 2, "minItems": 2},
            {
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "maxItems": 2,
                "minItems": 2,
            },
            ["/prefixItems"],
        ),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, {"type": "array", "items": {}}, ["/prefixItems"]),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "format": "byte"}, []),
        ({"type": "string", "pattern": "(?P<x>a)"}, {"type": "string"}, ["/pattern"]),
        ({"type": "object", "required": []}, {"type": "object"}, []),
        ({"type": "string", "x-own": 1, "own": 2}, {"type": "string", "x-own": 1}, ["/own"]),
        ({"if": {}, "then": {}}, {}, ["/if", "/then"]),
    ],
)
def test_each_keyword(schema: Any, expected: Json | None, lost: list[str]):
    made, losses = convert(schema)
    if expected is not None:
        assert made == expected
    assert losses == lost
    validate(openapi30_of(document_of({"$defs": {"A": {"type": "integer"}}, **_object(schema)}))[0])


def _object(schema: Any) -> Json:
    return schema if isinstance(schema, dict) else {"properties": {"a": schema}}


def test_an_optional_value_has_one_type():
    made, _ = convert(TypeAdapter(int | None).json_schema())
    assert made == {"type": "integer", "nullable": True}


def test_a_catalog_of_everything_is_valid_and_tells_its_losses():
    document = openapi_document(nasty.triggers(), INSTALLATION)
    validate(document, cls=OpenAPIV31SpecValidator)
    made, losses = openapi30_of(document)
    validate(made, cls=OpenAPIV30SpecValidator)
    assert made["openapi"] == "3.0.3"
    assert made["paths"].keys() == document["paths"].keys()
    assert losses
    assert all(_found(document, loss.where) for loss in losses)
    assert '"null"' not in str(made).replace("'", '"')
    assert document["openapi"] == "3.1.0"


def _found(document: Any, pointer: str) -> bool:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return True


@settings(max_examples=example_count(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TYPES.flatmap(lambda one: st.tuples(st.just(one[0]), one[1])))
def test_whatever_pydantic_describes_is_valid_and_takes_what_it_took(made: tuple[Any, Any]):
    kind, value = made
    adapter = TypeAdapter(kind)
    document = document_of(adapter.json_schema(ref_template="#/components/schemas/{model}"))
    converted, _ = openapi30_of(document)
    validate(converted, cls=OpenAPIV30SpecValidator)
    instance = adapter.dump_python(value, mode="json")
    at = {"$ref": "#/paths/~1try/post/requestBody/content/application~1json/schema"}
    if Draft202012Validator({**document, **at}).is_valid(instance):
        OAS30Validator({**converted, **at}).validate(instance)
