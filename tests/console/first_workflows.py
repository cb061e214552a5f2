"""Workflows with the names of those in the README's first steps, and what a server makes of them."""

from pathlib import Path
from typing import Any

from postern import Context, anonymous, tenant_users, workflow
from postern.access import bind
from postern.catalog import Trigger
from tests.api.records import HERE, OURS


@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    return "hello"


@workflow(access=tenant_users(), name="hello")
async def guarded_hello(ctx: Context) -> str:
    return "hello"


@workflow()
async def whoami(ctx: Context) -> str:
    return "who"


def triggers(*of: Any) -> dict[str, Trigger]:
    return {
        each.name: Trigger(each, bind(each.access, people={}, tenants=[HERE], audiences=[OURS]), Path("x.py"))
        for each in of
    }
