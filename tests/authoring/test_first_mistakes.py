"""A body with a million mistakes costs hardly more than one with fifty, and is told the same as by pydantic itself."""

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    create_model,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict, is_typeddict

from postern.authoring.colliding_keys import MOST_ALIKE, Colliding
from postern.authoring.first_mistakes import MOST_ELEMENTS, MOST_MISTAKES, mistakes_in
from postern.authoring.schema_kinds import ARRAYS, MAPS, NO_SCHEMAS
from postern.authoring.validators import Validator, validators_of
from tests.table import table

pytestmark = pytest.mark.slow

VALIDATED = [0]
PRIME = 2**61 - 1


def counted(value: Any) -> Any:
    VALIDATED[0] += 1
    return value


Counted = Annotated[int, BeforeValidator(counted)]


class Color(Enum):
    RED = "red"


class Item(BaseModel):
    a: int
    b: str


class Other(BaseModel):
    c: list[int]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: dict[str, int]


class Dog(BaseModel):
    kind: Literal["dog"]
    owners: list[Item]


class Tree(BaseModel):
    left: "Tree | None" = None
    right: "Tree | None" = None
    size: int = 0


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    ids: set[UUID] = Field(default_factory=set)
    pair: tuple[int, ...] = ()


@dataclass
class Data:
    items: list[Item]


def lenient(value: Any, handler: Callable[[Any], Any]) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


TYPES: list[Any] = [
    list[int],
    list[Item],
    dict[str, Item],
    dict[int, list[int]],
    list[int] | dict[str, int],
    list[Item | Other],
    dict[str, list[Item] | dict[str, Other]],
    list[Annotated[Cat | Dog, Field(discriminator="kind")]],
    Tree,
    Strict,
    Data,
    list[Color],
    Annotated[list[int], WrapValidator(lenient)],
    Annotated[dict[str, int], Field(max_length=2)],
    tuple[int, ...],
    set[int] | None,
]
NAMES = st.sampled_from(
    ["a", "b", "c", "kind", "lives", "owners", "left", "right", "size", "ids", "pair", "items", "1"]
)
VALUES = st.recursive(
    st.none() | st.integers(-3, 3) | st.sampled_from(["cat", "dog", "red", "x", str(UUID(int=5))]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


def outcome(validate: Callable[[], Any]) -> tuple[Any, Any]:
    try:
        return validate(), None
    except ValidationError as error:
        return None, {(each["loc"], each["type"], each["msg"]) for each in mistakes_in(error)}


@pytest.mark.parametrize("kind", TYPES)
@given(value=VALUES)
def test_a_value_is_valid_and_its_few_mistakes_are_the_same_as_by_pydantic(kind: Any, value: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    body = json.dumps(value).encode()
    plain, mistakes = outcome(lambda: adapter.validator.validate_json(body))
    ours, of_ours = outcome(lambda: validators_of(adapter).usual.validate_json(body))
    assert ours == plain
    assert (of_ours is None) == (mistakes is None)
    assert (of_ours or set()) <= (mistakes or set())
    if "|" not in str(kind) or kind in (Tree, set[int] | None):
        assert of_ours == mistakes


@table(
    ("kind", "wrong"),
    [
        (list[Counted], b'["x"' + b',"x"' * 9999 + b"]"),
        (dict[str, Counted], json.dumps({str(n): "x" for n in range(10_000)}).encode()),
        (dict[str, list[Counted]], json.dumps({str(n): ["x", "y"] for n in range(5_000)}).encode()),
        (tuple[Counted, ...], b'["x"' + b',"x"' * 9999 + b"]"),
        (deque[Counted], b'["x"' + b',"x"' * 9999 + b"]"),
        (OrderedDict[str, Counted], json.dumps({str(n): "x" for n in range(10_000)}).encode()),
        (set[Counted] | None, b'["x"' + b',"x"' * 9999 + b"]"),
        (list[Counted] | list[bool], b'["x"' + b',"x"' * 9999 + b"]"),
        (dict[Counted, int], json.dumps({f"x{n}": 1 for n in range(10_000)}).encode()),
    ],
)
def test_the_first_pass_ends_at_the_first_wrong_element_and_the_mistakes_are_few(kind: Any, wrong: bytes) -> None:
    validator = validators_of(TypeAdapter(kind)).usual
    VALIDATED[0] = 0
    with pytest.raises(ValidationError) as caught:
        validator.validate_json(wrong)
    assert caught.value.error_count() <= 4 * MOST_ELEMENTS
    assert 1 <= len(mistakes_in(caught.value)) <= 2 * MOST_ELEMENTS
    assert VALIDATED[0] <= 10_001


def test_the_first_wrong_elements_are_those_that_are_shown() -> None:
    validator = validators_of(TypeAdapter(dict[str, Item])).usual
    with pytest.raises(ValidationError) as caught:
        validator.validate_json(json.dumps({f"n{n}": {"a": n} for n in range(500)}).encode())
    assert [each["loc"] for each in mistakes_in(caught.value)] == [(f"n{n}", "b") for n in range(MOST_ELEMENTS)]


def test_more_mistakes_than_can_be_read_are_one() -> None:
    class Three(BaseModel):
        d: int
        e: int
        f: int

    body = json.dumps({f"n{n}": {} for n in range(MOST_MISTAKES)}).encode()
    with pytest.raises(ValidationError) as caught:
        validators_of(TypeAdapter(dict[str, Item | Three] | int)).usual.validate_json(body)
    assert mistakes_in(caught.value) == [{"type": "too_many", "loc": (), "msg": "has more mistakes than can be listed"}]


def test_a_generator_that_was_read_is_not_taken_for_an_empty_list() -> None:
    validator = Validator(TypeAdapter(list[int]).core_schema)
    assert validator.validate_attributes(number for number in (1, 2)) == [1, 2]
    with pytest.raises(Exception, match=r"^$") as caught:
        validator.validate_attributes(each for each in ("x",))
    assert type(caught.value).__name__ == "Stopped"


def numbers(count: int, step: int) -> list[int]:
    return [step * (n + 1) for n in range(count)]


def as_keys(values: list[int]) -> dict[str, int]:
    return {str(value): 1 for value in values}


@table(
    ("kind", "made"),
    [
        (set[int], list),
        (frozenset[int], list),
        (dict[int, int], as_keys),
        (set[UUID], lambda values: [f"{value:032x}" for value in values]),
        (set[tuple[int, int]], lambda values: [[value, 1] for value in values]),
        (set[Any], list),
        (Counter[int], as_keys),
        (OrderedDict[int, int], as_keys),
        (list[set[int]], lambda values: [values[:4], values[4:]]),
        (set[int] | list[str], list),
    ],
)
def test_keys_that_share_a_hash_are_rejected_and_as_many_others_are_not(
    kind: Any, made: Callable[[list[int]], Any]
) -> None:
    validator = validators_of(TypeAdapter(kind)).usual
    with pytest.raises(Colliding):
        validator.validate_json(json.dumps(made(numbers(MOST_ALIKE + 1, PRIME))).encode())
    validator.validate_json(json.dumps(made(numbers(5000, 1))).encode())
    validator.validate_json(json.dumps(made(numbers(MOST_ALIKE, PRIME))).encode())


@table("name", sorted(NO_SCHEMAS | {"type", "fields", "choices", "schema"}))
def test_a_field_with_any_name_is_bounded(name: str) -> None:
    """Such names mean something else in pydantic's own schemas."""
    keyed: Any = create_model("Keyed", field=(set[int], Field(alias=name)))
    typed: Any = TypedDict("Typed", {name: set[int]})  # type: ignore[misc]
    for kind in (keyed, typed):
        with pytest.raises(Colliding):
            validators_of(TypeAdapter(kind)).usual.validate_json(json.dumps({name: numbers(9, PRIME)}).encode())
    many: Any = TypedDict("Many", {name: list[Counted]})  # type: ignore[misc]
    VALIDATED[0] = 0
    with pytest.raises(ValidationError) as caught:
        validators_of(TypeAdapter(many)).usual.validate_json(json.dumps({name: ["x"] * 9999}).encode())
    assert caught.value.error_count() <= 4 * MOST_ELEMENTS


def test_every_kind_of_schema_with_items_or_keys_is_known() -> None:
    """A new release of pydantic may bring another one."""
    kinds = {
        str(get_args(hints["type"])[0]): set(hints)
        for each in vars(core_schema).values()
        if is_typeddict(each) and {"items_schema", "keys_schema"} & set(hints := get_type_hints(each))
    }
    assert {kind for kind, members in kinds.items() if "items_schema" in members} == ARRAYS | {"tuple"}
    assert {kind for kind, members in kinds.items() if "keys_schema" in members} == MAPS


def test_the_same_keys_in_many_sets_do_not_collide() -> None:
    validator = validators_of(TypeAdapter(list[set[int]])).usual
    assert len(validator.validate_json(json.dumps([[-1, -2, 0]] * 500).encode())) == 500
