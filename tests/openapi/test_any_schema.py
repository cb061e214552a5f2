"""For any types of a workflow's body, its OpenAPI 2.0 schema accepts what its OpenAPI 3.1 schema accepts."""

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

from postern.openapi.swagger import swagger_of
from tests.examples import example_count
from tests.openapi.lint import FORMATS, SCHEMA_KEYS
from tests.openapi.wrapped import body_of, document_of

pytestmark = pytest.mark.slow

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


@settings(max_examples=example_count(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
