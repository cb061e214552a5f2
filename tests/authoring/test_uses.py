"""A workflow that declares its connections and secrets can use no others."""

import asyncio
from enum import StrEnum
from typing import Any

import pytest
import structlog

from postern import Context, workflow
from postern.access import ANYONE
from postern.authoring.context import Services
from postern.authoring.request import Request
from postern.authoring.signature import WorkflowFault
from postern.authoring.uses import LONGEST_NAME, NotDeclared, limited
from tests.table import table


class Names(StrEnum):
    GRAPH = "graph"


async def read(name: str) -> str:
    return f"value of {name}"


OPENED: Any = object()


def context(connections: Any, secrets: Any) -> Context:
    made = workflow(connections=connections, secrets=secrets)(lambda_of())
    services = Services(read, lambda _ctx, _name: OPENED, structlog.get_logger("test"))
    if made.connections is not None or made.secrets is not None:
        services = limited(services, made.connections, made.secrets)
    return Context(Request("POST", "/"), ANYONE, "run-1", "x", services)


def lambda_of() -> Any:
    def function(ctx: Context) -> None: ...

    return function


def tried(ctx: Context, name: str) -> tuple[bool, bool]:
    """Whether the name is taken as that of a connection, and of a secret."""
    found = []
    for use in (ctx.connection, lambda name: asyncio.run(ctx.secret(name))):
        try:
            found.append(use(name) in (OPENED, f"value of {name}"))
        except NotDeclared:
            found.append(False)
    return found[0], found[1]


@table(
    ("connections", "secrets", "name", "expected"),
    [
        (None, None, "graph", (True, True)),
        (["graph"], None, "graph", (True, True)),
        (["graph"], None, "key", (False, True)),
        (None, ("key",), "graph", (True, False)),
        ([], [], "graph", (False, False)),
        (["graph", "key"], {"key"}, "key", (True, True)),
        ([Names.GRAPH], ["a"], "graph", (True, False)),
        (["graph"], ["graph"], Names.GRAPH, (True, True)),
        (["graph"], ["graph"], "Graph", (False, False)),
        (["graph"], ["graph"], "graph ", (False, False)),
        (["graph"], ["graph"], "", (False, False)),
    ],
)
def test_only_declared_names_are_taken(connections: Any, secrets: Any, name: str, expected: tuple[bool, bool]):
    assert tried(context(connections, secrets), name) == expected


def test_the_error_says_which_option_to_change_and_not_what_was_asked_for():
    """A name may come from a request, and the text of an error is recorded."""
    ctx = context(["graph", "orders"], [])
    with pytest.raises(
        LookupError, match=r"connections= of @workflow does not have \(it has: graph, orders\)"
    ) as raised:
        ctx.connection("from-a-caller")
    assert "from-a-caller" not in str(raised.value)
    with pytest.raises(LookupError, match=r"secrets= of @workflow does not have \(it has: none\)"):
        asyncio.run(ctx.secret("x"))


def test_names_are_kept_once_in_their_order_as_plain_strings():
    made = workflow(connections=["b", "a", "b"], secrets=(name for name in [Names.GRAPH]))(lambda_of())
    assert (made.connections, made.secrets) == (("b", "a"), ("graph",))
    assert type(made.secrets[0]) is str  # type: ignore[index]
    bare = workflow(lambda_of())
    assert (bare.connections, bare.secrets) == (None, None)


@table("option", ["connections", "secrets"])
@table("value", ["graph", 1, True, [1], [None], [""], [b"graph"], ["a\nb"], ["\ud800"], ["a" * 128]])
def test_what_is_no_list_of_names_does_not_load(option: str, value: Any):
    with pytest.raises(WorkflowFault, match=f"^{option}="):
        workflow(**{option: value})(lambda_of())


def test_a_name_may_be_as_long_as_key_vault_allows():
    assert workflow(secrets=["a" * LONGEST_NAME])(lambda_of()).secrets == ("a" * 127,)
