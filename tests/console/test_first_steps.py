"""The first requests that the home page names: those of README.md, where they work as they are written there."""

from pathlib import Path
from typing import Any

import pytest

from postern import Context, anonymous, tenant_users, workflow
from postern.access import bind
from postern.catalog import Trigger
from postern.console.first_steps import first_steps
from tests.api.records import HERE, OURS


@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    return "hello"


@workflow(access=tenant_users(), name="hello")
async def guarded_hello(ctx: Context) -> str:
    return "hello"


@workflow(access=anonymous(), name="hello")
async def hello_with_a_body(ctx: Context, name: str) -> str:
    return name


@workflow(access=anonymous(), name="hello")
async def hello_with_a_body_if_one_comes(ctx: Context, name: Any = None) -> Any:
    return name


@workflow(access=anonymous(), name="hello", path="/{name}")
async def hello_with_a_path(ctx: Context, name: str) -> str:
    return name


@workflow(access=anonymous(), name="hello", methods=["GET"])
async def hello_by_get(ctx: Context) -> str:
    return "hello"


@workflow()
async def whoami(ctx: Context) -> str:
    return "who"


@workflow(access=anonymous(), name="whoami")
async def open_whoami(ctx: Context) -> str:
    return "who"


def triggers(*of: Any) -> dict[str, Trigger]:
    return {
        each.name: Trigger(each, bind(each.access, people={}, tenants=[HERE], audiences=[OURS]), Path("x.py"))
        for each in of
    }


@pytest.mark.parametrize(
    ("of", "local", "anonymous_one", "guarded_one"),
    [
        ((hello, whoami), True, "hello", "whoami"),
        ((hello, whoami), False, "hello", ""),
        ((hello_with_a_body_if_one_comes,), True, "hello", ""),
        ((guarded_hello, whoami), True, "", "whoami"),
        ((hello_with_a_body,), True, "", ""),
        ((hello_with_a_path,), True, "", ""),
        ((hello_by_get,), True, "", ""),
        ((open_whoami,), True, "", ""),
    ],
)
def test_a_first_request_is_named_only_if_it_works_as_it_is_written(
    of: tuple[Any, ...], local: bool, anonymous_one: str, guarded_one: str
):
    found = triggers(*of)
    assert first_steps(found, frozenset(found), local=local) == (anonymous_one, guarded_one, True)


def test_what_a_viewer_may_not_call_is_no_first_step():
    found = triggers(hello, whoami)
    assert first_steps(found, frozenset({"whoami"}), local=True) == ("", "whoami", True)
    assert first_steps(found, frozenset(), local=True) == ("", "", False)
    assert first_steps({}, frozenset(), local=True) == ("", "", False)
