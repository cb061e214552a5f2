"""Schemas and documents of OpenAPI 3.1 as OpenAPI 2.0 says them: what fits still fits, and every loss is told."""

import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate
from pydantic import BaseModel, Field, TypeAdapter, create_model

from app.openapi.loss import Loss
from app.openapi.swagger import swagger_of
from app.openapi.swagger_schemas import SwaggerSchemas
from tests.openapi.lint import FORMATS, SCHEMA_KEYS

Json = dict[str, Any]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, gt=0, lt=10)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str | None = None


class Node(BaseModel):
    value: int = 0
    next: "Node | None" = None


LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**53), 2**53)),
    (str, st.text(max_size=5)),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (None, st.none()),
    (dt.date, st.dates()),
    (dt.datetime, st.datetimes()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas(dt.timedelta(0), dt.timedelta(9))),
    (UUID, st.uuids()),
    (Decimal, st.decimals(0, 99, places=2)),
    (Colour, st.sampled_from(Colour)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (Annotated[int, Field(gt=3, lt=10)], st.integers(4, 9)),
    (Annotated[float, Field(ge=0, le=1, multiple_of=0.25)], st.sampled_from([0.0, 0.25, 1.0])),
    (Annotated[str, Field(pattern="(?P<x>^a+$)")], st.sampled_from(["a", "aa"])),
    (Annotated[str, Field(pattern="^b+$", max_length=3)], st.sampled_from(["b", "bb"])),
    (Any, st.sampled_from([None, 1, "x", [1], {"a": None}])),
    (Annotated[Cat | Dog, Field(discriminator="kind")], st.sampled_from([Cat(), Dog(name="Rex"), Dog()])),
    (Node, st.sampled_from([Node(), Node(next=Node(value=1, next=Node()))])),
    (tuple[()], st.just(())),
    (tuple[int, int], st.tuples(st.integers(0, 9), st.integers(0, 9))),
]
Typed = tuple[Any, st.SearchStrategy[Any]]


def _of(kind: Any, *parts: Any) -> Any:
    """`list[int]` of `list` and `int`, for parts that are made while the test runs."""
    return kind[parts]


def _wider(children: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        children.map(lambda one: (one[0] | None if one[0] is not None else None, st.none() | one[1])),
        st.tuples(children, children).map(lambda two: (_of(Union, two[0][0], two[1][0]), two[0][1] | two[1][1])),
        children.map(lambda one: (_of(list, one[0]), st.lists(one[1], max_size=3))),
        children.map(lambda one: (_of(tuple, one[0], ...), st.lists(one[1], max_size=3).map(tuple))),
        st.tuples(children, children).map(
            lambda two: (_of(tuple, two[0][0], two[1][0]), st.tuples(two[0][1], two[1][1]))
        ),
        children.map(lambda one: (_of(dict, str, one[0]), st.dictionaries(st.text(max_size=3), one[1], max_size=2))),
        st.tuples(children, children).map(_model),
    )


def _model(two: tuple[Typed, Typed]) -> Typed:
    (first, firsts), (second, seconds) = two
    model = create_model(
        "Made",
        wanted=(first, Field(title="What is wanted", description="Said", examples=["x", "y"])),
        maybe=(second | None if second is not None else None, None),
    )
    return model, st.builds(model, wanted=firsts, maybe=st.none() | seconds)


TYPES = st.recursive(st.sampled_from(LEAVES), _wider, max_leaves=5)


def document_of(schema: Json) -> Json:
    """A document whose one operation takes a body like this. `$defs` of pydantic are its components."""
    content = {"application/json": {"schema": {key: part for key, part in schema.items() if key != "$defs"}}}
    operation = {
        "operationId": "Try",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "Done.", "content": content}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tried", "version": "1"},
        "paths": {"/try": {"post": operation}},
        "components": {"schemas": schema.get("$defs", {})},
    }


def body_of(swagger: Json) -> Json:
    found: Json = swagger["paths"]["/try"]["post"]["parameters"][0]["schema"]
    return found


def with_null(schema: Any) -> Any:
    """The same schema for a validator of draft 4, which knows no `x-nullable`."""
    if isinstance(schema, list):
        return [with_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: with_null(part) for key, part in schema.items()}
    return {"anyOf": [made, {"type": "null"}]} if schema.get("x-nullable") is True else made


def keywords(schema: Json) -> set[str]:
    found = set(schema)
    for part in schema.get("properties", {}).values():
        found |= keywords(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found |= keywords(schema[key])
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TYPES.flatmap(lambda one: st.tuples(st.just(one[0]), one[1])))
def test_whatever_pydantic_describes_comes_out_in_the_subset_and_takes_what_it_took(made: tuple[Any, Any]):
    kind, value = made
    adapter = TypeAdapter(kind)
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
    swagger, _ = swagger_of(document_of(schema))
    validate(swagger)
    for each in (body_of(swagger), *swagger["definitions"].values()):
        assert keywords(each) <= SCHEMA_KEYS
        assert str(each).count("'format'") == sum(str(each).count(f"'format': '{name}'") for name in FORMATS)
    instance = adapter.dump_python(value, mode="json")
    original = {**document_of(schema), "$ref": "#/paths/~1try/post/requestBody/content/application~1json/schema"}
    if Draft202012Validator(original).is_valid(instance):
        definitions = with_null(swagger["definitions"])
        Draft4Validator({"allOf": [with_null(body_of(swagger))], "definitions": definitions}).validate(instance)


def convert(schema: Any, **components: Any) -> tuple[Json, list[str]]:
    schemas = SwaggerSchemas(components)
    made = schemas.resolved(schemas.convert(schema, ""))
    return made, [loss.where for loss in schemas.losses]


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        ({"const": "a"}, {"type": "string", "enum": ["a"]}, []),
        ({"const": None}, {"x-nullable": True}, []),
        ({"enum": ["a", None]}, {"type": "string", "enum": ["a"], "x-nullable": True}, []),
        ({"enum": ["a", 1], "type": ["string", "integer"]}, {}, ["/type", "/enum"]),
        ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}, []),
        ({"type": ["string", "null"]}, {"type": "string", "x-nullable": True}, []),
        ({"type": ["integer", "number"]}, {"type": "number"}, []),
        ({"type": ["string", "integer"], "maxLength": 3}, {"maxLength": 3}, ["/type"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer", "x-nullable": True}, []),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, {"type": "number"}, []),
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, {"type": "string", "enum": ["a", "b"]}, []),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {}, ["/oneOf"]),
        (
            {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "array"}]},
            {"type": "array", "items": {}},
            ["/anyOf"],
        ),
        ({"allOf": [{"$ref": "#/components/schemas/A"}], "default": "a"}, {"type": "string", "default": "a"}, []),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, {}, ["/allOf"]),
        ({"type": "object", "anyOf": [{"required": ["a"]}]}, {"type": "object"}, ["/anyOf"]),
        ({"type": "integer", "exclusiveMinimum": 3}, {"type": "integer", "minimum": 3, "exclusiveMinimum": True}, []),
        ({"exclusiveMinimum": 3, "minimum": 5}, {"minimum": 5}, []),
        ({"exclusiveMaximum": 5, "maximum": 5}, {"maximum": 5, "exclusiveMaximum": True}, []),
        ({"type": "array"}, {"type": "array", "items": {}}, []),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "maxItems": 2},
            {"type": "array", "items": {}, "maxItems": 2},
            ["/prefixItems"],
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
            {"type": "array", "items": {"type": "string"}, "maxItems": 1},
            [],
        ),
        ({"type": "object", "additionalProperties": True}, {"type": "object"}, []),
        ({"type": "object", "additionalProperties": False}, {"type": "object", "additionalProperties": False}, []),
        (
            {"type": "object", "additionalProperties": {"const": 1}},
            {"type": "object", "additionalProperties": {"type": "integer", "enum": [1]}},
            [],
        ),
        ({"patternProperties": {"^a": {"type": "string"}}}, {}, ["/patternProperties"]),
        (
            {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            {"additionalProperties": {"type": "string"}},
            ["/patternProperties"],
        ),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "format": "byte"}, []),
        ({"type": "string", "contentEncoding": "quoted-printable"}, {"type": "string"}, ["/contentEncoding"]),
        ({"type": "string", "format": "uuid4"}, {"type": "string", "format": "uuid"}, []),
        ({"type": "string", "format": "time"}, {"type": "string"}, ["/format"]),
        ({"type": "string", "pattern": "^a++$"}, {"type": "string"}, ["/pattern"]),
        ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}, ["/examples"]),
        ({"type": "integer", "default": None}, {"type": "integer"}, []),
        ({"type": "integer", "default": "a"}, {"type": "integer"}, ["/default"]),
        ({"type": "integer", "default": True}, {"type": "integer"}, ["/default"]),
        ({"type": "number", "default": float("inf")}, {"type": "number"}, ["/default"]),
        ({"type": "number", "maximum": float("inf")}, {"type": "number"}, []),
        ({"if": {"minimum": 1}, "then": {"maximum": 2}}, {}, ["/if", "/then"]),
        (
            {"anyOf": [{"enum": ["a", 1, None]}, {"type": "integer"}, {"type": "null"}]},
            {"x-nullable": True},
            ["/anyOf/0/enum", "/anyOf"],
        ),
        ({"$defs": {"B": {"type": "boolean"}}, "$ref": "#/$defs/B"}, {"type": "boolean"}, []),
        ({"$ref": "#/components/schemas/Nowhere"}, {}, [""]),
        ({"$ref": "#/components/schemas/A", "title": "T"}, {"type": "string", "title": "T"}, []),
        ({"required": []}, {}, []),
        (True, {}, []),
        (False, {}, [""]),
        ({"x-ms-visibility": "advanced", "$comment": "x"}, {"x-ms-visibility": "advanced"}, []),
    ],
    ids=str,
)
def test_each_keyword_has_its_place_or_is_told(schema: Any, expected: Json, lost: list[str]):
    made, told = convert(schema, A={"type": "string"})
    assert made == expected
    assert sorted(told) == sorted(lost)


def test_a_definition_that_may_be_null_is_written_out_where_it_may():
    schemas = SwaggerSchemas({"A": {"type": "object", "title": "A"}})
    either = {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]}
    assert schemas.convert(either, "") == {"type": "object", "title": "A", "x-nullable": True}
    assert schemas.convert({"$ref": "#/components/schemas/A"}, "") == {"$ref": "#/definitions/A"}
    assert schemas.definitions == {"A": {"type": "object", "title": "A"}}


@pytest.mark.parametrize(
    "written",
    [
        *(
            {"required": True},
            {"properties": ["a"]},
            {"pattern": 3},
            {"type": 5},
            {"enum": 3},
            {"anyOf": 5},
            {"$ref": {}},
        ),
        *({"$defs": 1}, {"patternProperties": {"a": 1}}, {"items": 3}, {"type": ["strange"], "default": 1}, {1: 2}),
        *(
            {"maxLength": "3"},
            {"exclusiveMinimum": "3"},
            {"examples": {"a": 1}},
            {"title": 5},
            {"enum": [1, 1]},
            {"required": ["a", "a", 1]},
            {"additionalProperties": "x"},
            {"enum": [{1, 2}]},
        ),
    ],
    ids=str,
)
def test_what_an_author_wrote_by_hand_never_stops_the_export(written: Any):
    swagger, _ = swagger_of(document_of({"type": "object", "properties": {"odd": written, "good": {"type": "string"}}}))
    validate(swagger)
    assert body_of(swagger)["properties"]["good"] == {"type": "string"}


def test_models_in_models_do_not_grow_without_bound():
    depth = 40
    wide = {f"m{n}": {"type": "string", "description": "x" * 200} for n in range(9)}
    models: Json = {f"M{depth}": {"type": "object", "properties": wide}}
    for n in range(depth):
        inner = {"anyOf": [{"$ref": f"#/components/schemas/M{n + 1}"}, {"type": "null"}], "default": {}}
        models[f"M{n}"] = {"type": "object", "properties": {"a": inner, "b": inner, "c": inner}}
    swagger, losses = swagger_of(document_of({"$ref": "#/components/schemas/M0", "$defs": models}))
    validate(swagger)
    assert len(str(swagger)) < depth * 10_000
    assert len(swagger["definitions"]) <= 2 * depth + 2
    assert any("large schema" in loss.what for loss in losses)


def test_definitions_have_plain_names_of_their_own():
    names = ["Page[int]", "page-int", "Page_int_", "***"]
    schemas = SwaggerSchemas({name: {"type": "string"} for name in names})
    for name in names:
        schemas.convert({"$ref": f"#/components/schemas/{name}"}, "")
    assert list(schemas.definitions) == ["Page_int", "page_int2", "Page_int3", "Schema"]


def test_a_circle_of_definitions_is_cut_where_it_closes():
    circle = {name: {"type": "object", "properties": {"x": {"$ref": f"#/components/schemas/{to}"}}} for name, to in
              [("A", "B"), ("B", "C"), ("C", "A")]}  # fmt: skip
    made, told = convert({"$ref": "#/components/schemas/A"}, **circle)
    assert made["properties"] == {"x": {"$ref": "#/definitions/B"}}
    assert told == ["/components/schemas/C/properties/x"]


DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {"title": "T", "version": "1", "summary": "Short"},
    "paths": {
        "/a/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "put": {
                "operationId": "A",
                "parameters": [
                    {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "odd", "in": "query", "schema": {"type": "object"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                ],
                "requestBody": {"content": {"text/plain": {}, "application/json": {"schema": {"type": "string"}}}},
                "responses": {
                    "2XX": {"description": "Fine."},
                    "4XX": {"$ref": "#/components/responses/Bad"},
                    "5XX": {"$ref": "#/components/responses/Bad"},
                },
                "security": [{"entra": ["x"]}],
            },
            "trace": {"operationId": "B", "responses": {}},
        },
    },
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}},
        "responses": {"Bad": {"description": "Bad.", "content": {"application/problem+json": {"schema": {}}}}},
        "securitySchemes": {
            "entra": {
                "type": "oauth2",
                "flows": {
                    "clientCredentials": {"tokenUrl": "https://e.example/t", "scopes": {"x": "y"}},
                    "authorizationCode": {
                        "authorizationUrl": "https://e.example/a",
                        "tokenUrl": "https://e.example/t",
                        "scopes": {"x": "y"},
                    },
                },
            },
            "basic": {"type": "http", "scheme": "basic"},
            "mutual": {"type": "mutualTLS"},
        },
    },
}


def test_a_document_is_converted_as_a_whole():
    swagger, losses = swagger_of(DOCUMENT)
    validate(swagger)
    operation = swagger["paths"]["/a/{id}"]["put"]
    assert [(part["name"], part["in"], part.get("type")) for part in operation["parameters"]] == [
        ("id", "path", "integer"),
        ("tags", "query", "array"),
        ("odd", "query", "string"),
        ("body", "body", None),
    ]
    assert operation["parameters"][0]["x-ms-url-encoding"] == "single"
    assert operation["responses"] == {
        "200": {"description": "Fine."},
        "default": {"description": "Bad.", "schema": {}},
    }
    assert swagger["securityDefinitions"]["entra"]["flow"] == "accessCode"
    put = "/paths/~1a~1{id}/put"
    assert {loss.where for loss in losses} == {
        f"{put}/parameters/1/schema",
        f"{put}/parameters/2",
        f"{put}/requestBody/content/text~1plain",
        "/paths/~1a~1{id}/trace",
        "/components/securitySchemes/entra/flows/clientCredentials",
        "/components/securitySchemes/mutual",
    }
    assert all(loss.what.endswith(".") for loss in losses)


def test_the_document_is_left_as_it_was():
    before = repr(DOCUMENT)
    swagger, _ = swagger_of(DOCUMENT)
    swagger["securityDefinitions"]["entra"]["scopes"]["other"] = "z"
    swagger["paths"]["/a/{id}"]["put"]["security"].clear()
    assert repr(DOCUMENT) == before


def test_a_loss_is_a_place_and_a_sentence():
    assert Loss("/a", "Told.") == ("/a", "Told.")
