"""Schemas and documents of OpenAPI 3.1 in OpenAPI 2.0: values that fit still fit, and every loss is reported."""

from typing import Any

from openapi_spec_validator import validate

from postern.openapi.conversion_loss import Loss
from postern.openapi.schemas import clean
from postern.openapi.swagger import swagger_of
from postern.openapi.swagger_schemas import SwaggerSchemas
from tests.openapi.wrapped import body_of, document_of
from tests.table import table

Json = dict[str, Any]


def convert(schema: Any, **components: Any) -> tuple[Json, list[str]]:
    schemas = SwaggerSchemas(components)
    made = schemas.resolved(schemas.convert(schema, ""))
    return made, [loss.where for loss in schemas.losses]


@table(
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
        ({"type": "string", "format": "base64"}, {"type": "string", "format": "byte"}, []),
        ({"type": "string", "pattern": "(?!"}, {"type": "string"}, ["/pattern"]),
        ({"type": "string", "writeOnly": True}, {"type": "string"}, ["/writeOnly"]),
        ({"type": "integer", "minimum": 1, "default": 0}, {"type": "integer", "minimum": 1}, ["/default"]),
        (
            {"type": "integer", "exclusiveMaximum": 5, "default": 5},
            {"type": "integer", "maximum": 5, "exclusiveMaximum": True},
            ["/default"],
        ),
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
def test_each_keyword_has_its_place_or_is_reported(schema: Any, expected: Json, lost: list[str]):
    made, lost_at = convert(schema, A={"type": "string"})
    assert made == expected
    assert sorted(lost_at) == sorted(lost)


def test_a_definition_that_may_be_null_is_written_out_where_it_may():
    schemas = SwaggerSchemas({"A": {"type": "object", "title": "A"}})
    either = {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]}
    assert schemas.convert(either, "") == {"type": "object", "title": "A", "x-nullable": True}
    assert schemas.convert({"$ref": "#/components/schemas/A"}, "") == {"$ref": "#/definitions/A"}
    assert schemas.definitions == {"A": {"type": "object", "title": "A"}}


@table(
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
        *({"$defs": 1}, {"patternProperties": {"a": 1}}, {"items": 3}, {"type": ["strange"], "default": 1}),
        *(
            {"maxLength": "3"},
            {"exclusiveMinimum": "3"},
            {"examples": {"a": 1}},
            {"title": 5},
            {"enum": [1, 1]},
            {"required": ["a", "a", 1]},
            {"additionalProperties": "x"},
        ),
    ],
    ids=str,
)
def test_what_an_author_wrote_by_hand_never_stops_the_export(written: Any):
    schema = {"type": "object", "properties": {"odd": written, "good": {"type": "string"}}}
    swagger, _ = swagger_of(document_of(clean(schema, {})))
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


def test_what_says_how_a_member_is_used_is_no_rule_that_is_lost():
    schemas = SwaggerSchemas({})
    schemas.convert({"type": "string", "deprecated": True}, "")
    assert [loss.what for loss in schemas.losses] == ["'deprecated' cannot be expressed."]


def test_definitions_have_plain_names_of_their_own():
    names = ["Page[int]", "page-int", "Page_int_", "***"]
    schemas = SwaggerSchemas({name: {"type": "string"} for name in names})
    for name in names:
        schemas.convert({"$ref": f"#/components/schemas/{name}"}, "")
    assert list(schemas.definitions) == ["Page_int", "page_int2", "Page_int3", "Schema"]


def test_a_circle_of_definitions_is_cut_where_it_closes():
    circle = {name: {"type": "object", "properties": {"x": {"$ref": f"#/components/schemas/{to}"}}} for name, to in
              [("A", "B"), ("B", "C"), ("C", "A")]}  # fmt: skip
    made, lost_at = convert({"$ref": "#/components/schemas/A"}, **circle)
    assert made["properties"] == {"x": {"$ref": "#/definitions/B"}}
    assert lost_at == ["/components/schemas/C/properties/x"]


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
    assert Loss("/a", "Lost.") == ("/a", "Lost.")
