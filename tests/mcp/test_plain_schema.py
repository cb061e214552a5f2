"""Schemas of tools keep the rules of the strictest clients, and allow what the trigger allows."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel, TypeAdapter, create_model

from postern.mcp.plain_schema import MOST_NODES, plain, without_null
from tests.examples import example_count
from tests.mcp.plain_rules import breaches
from tests.openapi.test_any_schema import TYPES
from tests.table import table

pytestmark = pytest.mark.slow

Json = dict[str, Any]
MOST = settings(max_examples=example_count(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
TYPED = TYPES.flatmap(lambda one: st.tuples(st.just(one[0]), one[1]))


@MOST
@given(TYPED)
def test_a_schema_of_any_type_keeps_the_rules_and_allows_what_the_trigger_allows(made: tuple[Any, Any]):
    adapter, value = TypeAdapter(made[0]), made[1]
    schema = adapter.json_schema()
    written = plain(schema)
    assert [*breaches(written)] == []
    for validator in (Draft7Validator, Draft202012Validator):
        validator.check_schema(written)
    sent = adapter.dump_python(value, mode="json", exclude_defaults=True)
    if Draft202012Validator(schema).is_valid(sent):
        for validator in (Draft7Validator, Draft202012Validator):
            validator(written).validate(sent)


@MOST
@given(TYPED)
def test_a_schema_of_a_result_allows_every_result(made: tuple[Any, Any]):
    adapter, value = TypeAdapter(made[0]), made[1]
    schema = adapter.json_schema(mode="serialization")
    written = plain(schema, nullable=True)
    assert [*breaches(written, nullable=True)] == []
    result = adapter.dump_python(value, mode="json")
    if Draft202012Validator(schema).is_valid(result):
        for validator in (Draft7Validator, Draft202012Validator):
            validator(written).validate(result)


NULL: Json = {"type": "null"}
TEXT: Json = {"type": "string"}
WHOLE: Json = {"type": "integer"}
TREE: Json = {"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": {"kid": {"$ref": "#/$defs/T"}}}}}
ROWS: Json = {"$ref": "#/$defs/R", "$defs": {"R": {"type": "array", "items": {"$ref": "#/$defs/R"}}}}
ANY: Json = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [TEXT, {"$ref": "#/$defs/A"}]}}}
OPTIONAL: Json = {"properties": {"a": {"anyOf": [TEXT, NULL], "default": None}}}


@table(
    "schema, written",
    [
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9}, {"minimum": 1, "maximum": 8}),
        ({"type": "integer", "exclusiveMinimum": 2.5, "minimum": 7}, {"minimum": 7}),
        ({"type": "integer", "exclusiveMaximum": 2.5}, {"maximum": 2}),
        (
            {"type": "number", "exclusiveMinimum": 0, "description": "A price."},
            {"minimum": 0, "description": "A price. More than 0."},
        ),
        ({"exclusiveMinimum": True, "exclusiveMaximum": float("inf")}, {}),
        (
            {"type": ["string", "null"], "maxLength": 2, "title": "x"},
            {"title": "x", "anyOf": [{"type": "string", "maxLength": 2}, NULL]},
        ),
        ({"type": ["string"]}, TEXT),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"anyOf": [TEXT | {"enum": ["a"]}, NULL]}),
        ({"type": "object"}, {"properties": {}}),
        ({"type": "array"}, {"items": {}}),
        ({"type": "array", "prefixItems": [WHOLE, WHOLE], "maxItems": 2}, {"items": WHOLE}),
        ({"type": "array", "prefixItems": [WHOLE]}, {"items": {}}),
        ({"type": "array", "prefixItems": [WHOLE], "items": NULL}, {"items": {"anyOf": [WHOLE, NULL]}}),
        ({"type": "array", "items": False}, {"items": {}}),
        ({"oneOf": [{}], "discriminator": {"propertyName": "kind"}}, {"oneOf": [{}]}),
        ({"properties": {"a": True, "b": False}}, {"properties": {"a": {}, "b": {"not": {}}}}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"pattern": r"(?P<x>a)\Z"}, {}),
        ({"properties": {"the_seats": {"title": "The Seats"}}}, {"properties": {"the_seats": {}}}),
        (OPTIONAL, {"properties": {"a": TEXT}}),
        ({**OPTIONAL, "required": ["a"]}, {"properties": {"a": {"anyOf": [TEXT, NULL], "default": None}}}),
        (TREE, {"properties": {"kid": {"type": "object", "properties": {}}}}),
        (ROWS, {"items": {"type": "array", "items": {}}}),
        (ANY, {"anyOf": [TEXT, {}]}),
        ({"$ref": "#/$defs/gone", "description": "Lost."}, {"description": "Lost."}),
    ],
)  # fmt: skip
def test_each_rule_alone(schema: Json, written: Json):
    kept = plain(schema)
    assert {key: kept.get(key) for key in written} == written
    assert [*breaches(kept)] == []
    assert not {"exclusiveMinimum", "exclusiveMaximum", "pattern", "discriminator", "prefixItems"} & kept.keys()


@table(
    "schema, written",
    [
        ({"anyOf": [NULL]}, {"anyOf": [NULL]}),
        ({"enum": ["a", None], "default": None}, {"enum": ["a"]}),
        ({"enum": [None]}, {"enum": [None]}),
        ({"anyOf": [TEXT, NULL], "title": "A"}, {"type": "string", "title": "A"}),
        ({"oneOf": [TEXT, {"const": None}, WHOLE]}, {"oneOf": [TEXT, WHOLE]}),
        ({"type": "string", "default": "x"}, {"type": "string", "default": "x"}),
    ],
)  # fmt: skip
def test_what_may_be_left_out_needs_no_null(schema: Json, written: Json):
    assert without_null(schema) == written


def test_models_that_refer_to_each_other_many_times_end():
    """Each level refers ten times to the next one: inlined in full they would be 10^12 schemas."""
    model: type[BaseModel] = create_model("Level0", value=(int, 0))
    for level in range(1, 13):
        model = create_model(f"Level{level}", **{f"part_{number}": (model, ...) for number in range(10)})  # type: ignore[call-overload, misc]
    written = plain(model.model_json_schema())
    assert str(written).count("'type'") < 2 * MOST_NODES
    assert [*breaches(written)] == []
