"""A type that a few bytes can make work without end does not load, and its fault says how to write it."""

import json
import re
from collections import OrderedDict, deque  # noqa: TC003 - pydantic reads the annotations
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, TypeAdapter
from typing_extensions import TypedDict

from postern import Context, workflow
from postern.authoring.signature import WorkflowFault
from postern.authoring.type_faults import fault_of
from tests.table import table

CALLS = [0]


def counted(value: Any) -> Any:
    CALLS[0] += 1
    return value


Leaf = Annotated[int, AfterValidator(counted)]


class And(BaseModel):
    op: Literal["and"] = "and"
    items: "list[And | Or | Leaf]"


class Or(BaseModel):
    op: Literal["or"] = "or"
    items: "list[And | Or | Leaf]"


class Renamed(BaseModel):
    also: "list[And | Renamed | Leaf]" = Field(validation_alias="items")


class Told(BaseModel):
    op: Literal["a"] = "a"
    items: "list[Annotated[Told | ToldToo, Field(discriminator='op')] | Leaf]"


class ToldToo(BaseModel):
    op: Literal["b"] = "b"
    items: "list[Annotated[Told | ToldToo, Field(discriminator='op')] | Leaf]"


class ByName(BaseModel):
    both: "list[ByName | ByOther | Leaf]"


class ByOther(BaseModel):
    either: "list[ByName | ByOther | Leaf]"


class Holder(BaseModel):
    items: "dict[str, Holder] | HolderToo | Leaf"


class HolderToo(BaseModel):
    model_config = ConfigDict(extra="allow")
    items: "Holder | Leaf"


class Typed(TypedDict):
    items: "Typed | Data | Leaf"


@dataclass
class Data:
    items: "Typed | Data | Leaf"


class Tree(BaseModel):
    items: "list[Tree | Leaf]"


class Sets(BaseModel):
    items: "list[Sets] | tuple[Sets, ...] | Leaf"


class Queued(BaseModel):
    items: "deque[Queued] | list[Queued] | Leaf"


class Mapped(BaseModel):
    items: "OrderedDict[str, Mapped] | dict[str, Mapped] | Leaf"


class Named(NamedTuple):
    items: "list[Named | And | Leaf]"


class Ordered(BaseModel):
    items: "Annotated[Ordered | And | Tree | Leaf, Field(union_mode='left_to_right')]"


def nested(depth: int, op: str = "") -> Any:
    return {**({"op": op} if op else {}), "items": [nested(depth - 1, op)] if depth else [1]}


def straight(depth: int, key: str = "items") -> Any:
    return {key: straight(depth - 1, key) if depth else 1}


def listed(depth: int) -> Any:
    return {"both": [listed(depth - 1)] if depth else [1]}


def walked(kind: Any, value: Any) -> int:
    """How often the innermost value is validated."""
    CALLS[0] = 0
    TypeAdapter(kind).validator.validate_json(json.dumps(value))
    return CALLS[0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (And | Or, nested),
        (list[And | Or], lambda depth: [nested(depth)]),
        (And | Renamed, nested),
        (Typed, straight),
    ],
)
def test_a_union_that_is_a_fault_doubles_the_work_with_each_level(kind: Any, value: Callable[[int], Any]) -> None:
    assert fault_of(TypeAdapter(kind).core_schema)
    assert walked(kind, value(6)) >= 8 * walked(kind, value(3))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Told, lambda depth: nested(depth, "a")),
        (ByName | ByOther, listed),
        (Tree, nested),
        (JsonValue, nested),
        (list[int] | dict[str, int] | Leaf, lambda _: 1),
        (Annotated[Annotated[ByName, Tag("a")] | Annotated[Tree, Tag("t")], Discriminator(lambda _: "t")], nested),
    ],
)
def test_a_union_that_is_no_fault_validates_each_value_a_few_times(kind: Any, value: Any) -> None:
    assert not fault_of(TypeAdapter(kind).core_schema)
    assert walked(kind, value(8)) <= 2 * max(walked(kind, value(2)), 1)


@table("kind", [Holder, Sets, Queued, Mapped, Named, Ordered, dict[str, And], tuple[int, Or]])
def test_a_union_that_reaches_itself_is_found_in_every_kind_of_type(kind: Any) -> None:
    assert "discriminator" in fault_of(TypeAdapter(kind).core_schema)


class Slow(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    name: str = Field(pattern="^(a+)+$")


class Around(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    inner: "Quick"


class Quick(BaseModel):
    name: str = Field(pattern="^(a+)+$")


@pytest.mark.parametrize(
    "kind", [Slow, list[Slow], Annotated[str, Field(pattern=re.compile("^(a+)+$"))], Slow | int], ids=str
)
def test_a_pattern_that_can_backtrack_is_a_fault(kind: Any) -> None:
    assert "(a+)+" in fault_of(TypeAdapter(kind).core_schema)


@pytest.mark.parametrize("kind", [Quick, Annotated[str, Field(pattern="^(a+)+$")], Around])
def test_a_pattern_of_the_engine_that_cannot_backtrack_is_none(kind: Any) -> None:
    assert not fault_of(TypeAdapter(kind).core_schema)


def test_the_fault_names_the_parameter_or_the_return_annotation() -> None:
    async def taking(ctx: Context, body: And) -> None: ...

    async def giving(ctx: Context) -> And | None: ...

    async def at(ctx: Context, part: Annotated[str, Field(pattern=re.compile("x"))]) -> None: ...

    with pytest.raises(WorkflowFault, match=r"the type of 'body' takes unlimited time .*discriminator"):
        workflow(taking)
    with pytest.raises(WorkflowFault, match=r"the return annotation takes unlimited time .*discriminator"):
        workflow(giving)
    with pytest.raises(WorkflowFault, match=r"the type of 'part' .*regex_engine"):
        workflow(path="/{part}")(at)
