"""Which requests the durable engine runs."""

import sys
from textwrap import dedent
from typing import Any

import pytest

import postern
from postern import Reply, anonymous, specific_users, tenant_users, workflow
from postern.access import ANYONE
from postern.authoring.request import Request
from postern.authoring.sent_form import SentForm
from postern.durable.choice import Choice, may_be_durable
from tests.table import table

this_module = sys.modules[__name__]
OWN = ("connections.graph",)
PEOPLE = tenant_users(apps=False)


def made(**options: Any) -> Any:
    async def work(ctx) -> None:
        """Nothing."""

    return workflow(**{"access": anonymous(), **options})(work)


@table(
    ("options", "sealed", "for_callers", "may"),
    [
        ({}, False, (), True),
        ({"stateless": True}, True, (), False),
        ({"singleton": True}, True, (), False),
        ({"concurrency_key": lambda caller, body: "a"}, True, (), False),
        ({"max_concurrency": 1}, True, (), True),
        ({"secure_inputs": True}, False, (), False),
        ({"secure_outputs": True}, False, (), False),
        ({"secure_inputs": True, "secure_outputs": True}, True, (), True),
        ({"access": PEOPLE}, False, (), True),
        ({"access": PEOPLE}, False, OWN, False),
        ({"access": PEOPLE, "connections": []}, False, OWN, True),
        ({"access": PEOPLE, "connections": ["other"]}, False, OWN, True),
        ({"access": PEOPLE, "connections": ["other", "graph"]}, False, OWN, False),
        ({"access": PEOPLE, "connections": []}, False, ("triggers.graph",), False),
        ({"access": specific_users("lisa", apps=False)}, False, OWN, False),
        ({"access": tenant_users()}, False, OWN, True),
        ({}, False, OWN, True),
    ],
)
def test_a_preference_not_to_wait_is_honoured_where_nothing_is_lost_by_it(
    options: dict[str, Any], sealed: bool, for_callers: tuple[str, ...], may: bool
):
    assert may_be_durable(made(**options), sealed=sealed, for_callers=for_callers) is may


async def sends(ctx) -> Reply:
    """A stream of its own."""

    def numbers():
        yield "1"

    return Reply.stream(numbers(), "text/plain")


async def sends_under_another_name(ctx) -> Reply:
    """The same."""
    return next(postern.Reply.events([each]) for each in "a")


async def sends_none(ctx, client) -> Reply:
    """It reads a stream, and replies with JSON."""
    return Reply(200, client.stream("/a"))


def helper(rows) -> Reply:
    """What makes a stream for others."""
    return another_helper(rows)


def another_helper(rows) -> Reply:
    """It calls the first one, as functions may."""
    return Reply.stream(rows) if rows else helper(rows)


async def sends_by_a_helper(ctx) -> Reply:
    """The same, two functions further."""
    return helper(["a"])


async def sends_by_a_module(ctx) -> Any:
    """The same in another module."""
    return this_module.another_helper(["a"])


class Unwilling:
    """A global value whose attributes cannot be looked at."""

    def __call__(self) -> str:
        """Return something."""
        return "a"

    def __getattr__(self, name: str) -> Any:
        """Fail, as proxies outside of their context do."""
        raise RuntimeError(name)


unwilling = Unwilling()


async def names_what_is_unwilling(ctx) -> str:
    """It is not looked at."""
    return unwilling()


async def helped_to_nothing(ctx) -> str:
    """Its helper is a part of a library."""
    return dedent("a")


@table(
    ("function", "may"),
    [
        (sends, False),
        (sends_under_another_name, False),
        (sends_by_a_helper, False),
        (sends_by_a_module, False),
        (sends_none, True),
        (helped_to_nothing, True),
        (names_what_is_unwilling, True),
    ],
)
def test_what_a_stream_sends_is_not_kept_for_later(function: Any, may: bool):
    assert may_be_durable(workflow(access=anonymous())(function), sealed=True, for_callers=()) is may


class Engine:
    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, *_: Any, **__: Any) -> str:
        return self.name


@pytest.mark.parametrize(
    ("durable", "prefer", "may_wait", "engine"),
    [
        (False, b"", True, "inline"),
        (False, b"wait=5", True, "inline"),
        (False, b"respond-async", True, "durable"),
        (False, b"respond-async", False, "inline"),
        (True, b"", False, "durable"),
        (True, b"wait=5", True, "durable"),
    ],
)
def test_the_workflow_or_its_caller_chooses_the_engine(durable: bool, prefer: bytes, may_wait: bool, engine: str):
    choice: Any = Choice(Engine("inline"), Engine("durable"), lambda _: may_wait)  # type: ignore[arg-type]
    request = Request("POST", "/triggers/work")
    request._prefer = prefer
    assert choice.start(made(durable=durable), ANYONE, request, {}, "1") == engine


@table(("body", "engine"), [(b"", "inline"), (b"--b--", "durable")])
def test_a_form_that_is_kept_nowhere_is_not_read_later(body: bytes, engine: str):
    choice: Any = Choice(Engine("inline"), Engine("durable"), lambda _: True)  # type: ignore[arg-type]
    request = Request("POST", "/triggers/work", body=body)
    request._prefer, request._form = b"respond-async", SentForm([])
    assert choice.start(made(), ANYONE, request, {}, "1") == engine
