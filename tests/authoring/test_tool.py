"""What an author may write as `tool=`, and the error for what an agent could not use."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

import postern
from postern import Context, Form, Header, Tool, anonymous, github, workflow
from postern.authoring.signature import WorkflowFault
from postern.authoring.tool import tool_names
from tests.table import table


class Order(BaseModel):
    seats: int


def book(ctx: Context, order: Order) -> None:
    """Book seats."""


def silent(ctx: Context) -> None: ...


def says_nothing(ctx: Context) -> None:
    """..."""


def form(ctx: Context, order: Annotated[Order, Form()]) -> None:
    """Book seats."""


def with_header(ctx: Context, order: Order, event: Annotated[str, Header(alias="X-Event")]) -> None:
    """Book seats."""


def with_default(ctx: Context, order: Order, event: Annotated[str, Header(alias="X-Event")] = "") -> None:
    """Book seats."""


def test_a_workflow_is_no_tool_unless_its_author_says_so():
    assert workflow(book).tool is None
    assert workflow(tool=False)(silent).tool is None
    assert workflow(tool=True)(book).tool == Tool()
    assert workflow(tool=Tool(title="Book"))(with_default).tool == Tool(title="Book")
    assert postern.Tool is Tool


ANONYMOUS = anonymous(signed=True)
SENDER = anonymous(signed_by=github("hook"))


@table(
    "function, options, cause",
    [
        (silent, {}, "tool=: silent() has no docstring"),
        (says_nothing, {}, "tool=: says_nothing() has no docstring"),
        (form, {}, "tool=: form() takes a form, and arguments of tools are JSON"),
        (with_header, {}, "tool=: with_header() needs the header x-event"),
        (book, {"access": ANONYMOUS}, "tool=: an agent sends no signed URL"),
        (book, {"access": SENDER}, "tool=: an agent sends no signed URL"),
        (book, {"methods": ["HEAD", "OPTIONS"]}, "tool=: a tool is called by another method"),
        (book, {"name": "a" * 49}, f"tool=: '{'a' * 49}' is no name of a tool"),
        (book, {"name": "a" * 45, "methods": ["GET", "POST"]}, f"tool=: 'get-{'a' * 45}' is no name of a tool"),
        (book, {"name": "get-run"}, "tool=: the name get-run is Postern's own tool"),
        (book, {"name": "run", "methods": ["GET", "PUT"]}, "tool=: the name get-run is Postern's own tool"),
        (book, {"tool": "yes"}, "tool='yes': write tool=True"),
        (book, {"tool": Tool}, "tool=Tool: write tool=True"),
        (book, {"tool": None}, "tool=None: write tool=True"),
        (book, {"tool": Tool(title="")}, "Tool(title='')"),
        (book, {"tool": Tool(title=3)}, "Tool(title=3)"),  # type: ignore[arg-type]
        (book, {"tool": Tool(read_only="yes")}, "Tool(read_only='yes')"),  # type: ignore[arg-type]
        (book, {"tool": Tool(idempotent=1)}, "Tool(idempotent=1)"),  # type: ignore[arg-type]
        (book, {"tool": Tool(read_only=True, destructive=True)}, "Tool(read_only=True, destructive=True)"),
    ],
    ids=str,
)
def test_what_an_agent_could_not_use_is_a_fault(function: Any, options: dict[str, Any], cause: str):
    with pytest.raises(WorkflowFault) as fault:
        workflow(**({"tool": True} | options))(function)
    assert str(fault.value).startswith(cause)


@table(
    "methods, names",
    [
        (("POST",), {"book": "POST"}),
        (("GET", "HEAD", "OPTIONS"), {"book": "GET"}),
        (("GET", "POST"), {"get-book": "GET", "post-book": "POST"}),
        (("HEAD",), {}),
    ],
)
def test_the_method_is_a_part_of_the_name_if_there_are_several(methods: tuple[str, ...], names: dict[str, str]):
    assert tool_names("book", methods) == names


def test_a_workflow_with_the_longest_name_is_a_tool():
    assert workflow(tool=True, name="a" * 48)(book).tool == Tool()
    assert workflow(tool=True, name="a" * 44, methods=["GET", "PUT"])(book).tool == Tool()
