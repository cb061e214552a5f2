"""The first requests that the home page names: those of README.md, where they work as they are written there."""

import runpy
from typing import Any

from postern import Context, anonymous, workflow
from postern.console.first_steps import ANONYMOUS, GUARDED, first_steps
from tests.console.first_workflows import guarded_hello, hello, triggers, whoami
from tests.shipped import ROOT
from tests.table import table


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


@workflow(access=anonymous(signed=True), name="hello")
async def signed_hello(ctx: Context) -> str:
    return "hello"


@workflow(access=anonymous(), name="whoami")
async def open_whoami(ctx: Context) -> str:
    return "who"


@table(
    ("of", "local", "anonymous_one", "guarded_one"),
    [
        ((hello, whoami), True, "hello", "whoami"),
        ((hello, whoami), False, "hello", ""),
        ((hello_with_a_body_if_one_comes,), True, "hello", ""),
        ((guarded_hello, whoami), True, "", "whoami"),
        ((hello_with_a_body,), True, "", ""),
        ((hello_with_a_path,), True, "", ""),
        ((hello_by_get,), True, "", ""),
        ((signed_hello, whoami), True, "", "whoami"),
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


def test_the_workflows_of_the_project_are_those_of_the_first_steps():
    of = [runpy.run_path(str(ROOT / f"workflows/{name}.py"))[name] for name in (ANONYMOUS, GUARDED)]
    found = triggers(*of)
    assert first_steps(found, found, local=True) == (ANONYMOUS, GUARDED, True)
