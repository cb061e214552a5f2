"""Workflows of types that take long to validate, for bodies that are made to be so (`tests/heavy/bodies.py`)."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, field_validator

from postern import Context, anonymous, workflow


class Item(BaseModel):
    a: int
    b: str


class Other(BaseModel):
    c: int
    d: int
    e: int


class Checked(BaseModel):
    a: int

    @field_validator("a")
    @classmethod
    def is_checked(cls, value: int) -> int:
        return value


class Tree(BaseModel):
    left: "Tree | None" = None
    right: "Tree | None" = None


@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    return "hello"


@workflow(access=anonymous())
async def untyped(ctx: Context, body: Any) -> int:
    return 1


@workflow(access=anonymous())
async def numbers(ctx: Context, body: list[int]) -> int:
    return len(body)


@workflow(access=anonymous())
async def items(ctx: Context, body: list[Item]) -> list[Item]:
    return body


@workflow(access=anonymous())
async def checked(ctx: Context, body: list[Checked]) -> int:
    return len(body)


@workflow(access=anonymous())
def checked_in_thread(ctx: Context, body: list[Checked]) -> int:
    return len(body)


@workflow(access=anonymous())
async def maps(ctx: Context, body: dict[str, Item]) -> int:
    return len(body)


@workflow(access=anonymous())
async def unions(ctx: Context, body: dict[str, Item | Other]) -> int:
    return len(body)


@workflow(access=anonymous())
async def number_map(ctx: Context, body: dict[int, int]) -> int:
    return len(body)


@workflow(access=anonymous())
async def number_set(ctx: Context, body: set[int]) -> int:
    return len(body)


@workflow(access=anonymous())
async def id_set(ctx: Context, body: set[UUID]) -> int:
    return len(body)


@workflow(access=anonymous())
async def decimals(ctx: Context, body: list[Decimal]) -> int:
    return len(body)


@workflow(access=anonymous())
async def trees(ctx: Context, body: Tree) -> int:
    return 1
