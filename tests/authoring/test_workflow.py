"""What an author may write, and the error for each mistake."""

import functools
from http import HTTPStatus
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from postern.access import Anonymous, TenantUsers, anonymous, tenant_users
from postern.authoring.context import Context
from postern.authoring.reply import Reply
from postern.authoring.request import Request
from postern.authoring.signature import WorkflowFault
from postern.authoring.workflow import Workflow, workflow
from tests.table import table


class Order(BaseModel):
    seats: int


class Chain(BaseModel):
    tail: "Chain | None" = None


class Unfinished(BaseModel):
    part: "DefinedTooLate"  # type: ignore[name-defined]  # noqa: F821


def test_a_bare_decorator_makes_a_workflow_with_the_defaults() -> None:
    """Without options: POST, the tenant's users, 120 s, the function's name with hyphens."""

    @workflow
    async def find_people(ctx: Context) -> None:
        """Find people.

        More about it.
        """

    assert isinstance(find_people, Workflow)
    assert (find_people.name, find_people.methods, find_people.path) == ("find-people", ("POST",), "")
    assert find_people.access == tenant_users()
    assert isinstance(find_people.access, TenantUsers)
    assert find_people.timeout == 120.0
    assert find_people.is_async
    assert find_people.body is None
    assert find_people.description == "Find people."
    assert not any((find_people.stateless, find_people.secure_inputs, find_people.secure_outputs))


def test_options_are_kept() -> None:
    """What the author says is what the workflow has."""

    @workflow(
        access=anonymous(),
        name="book",
        methods=["PUT", "POST", "PUT"],
        path="/orders/{order_id}",
        timeout=5,
        stateless=True,
        secure_inputs=True,
        secure_outputs=True,
        max_concurrency=2,
        max_body_bytes=10,
    )
    def anything(ctx: Context, order: Order, order_id: int) -> Order:
        return order

    assert isinstance(anything.access, Anonymous)
    assert (anything.name, anything.methods) == ("book", ("PUT", "POST"))
    assert anything.path_segments == ("orders", "{order_id}")
    assert (anything.timeout, anything.max_concurrency, anything.max_body_bytes) == (5.0, 2, 10)
    assert anything.stateless
    assert anything.secure_inputs
    assert anything.secure_outputs
    assert not anything.is_async
    assert anything(None, Order(seats=1), 7) == Order(seats=1)


def test_parameters_find_the_body_and_the_path() -> None:
    """The second parameter is the body unless the path names it; the path's are converted to their annotations."""

    both = workflow(path="/a/{first}/{unused}/{second}")(function_of("def f(ctx, second: Positive, first)"))
    untyped = workflow(function_of("def f(ctx, body)"))

    @workflow
    def optional(ctx: Context, body: Order | None = None) -> None: ...

    @workflow
    def recursive(ctx: Context, body: Chain) -> None: ...

    @workflow
    def keyword(ctx: Context, *, body: Order) -> None: ...

    assert both.body is None
    assert [parameter.name for parameter in both.path_parameters] == ["first", "second"]
    assert both.path_parameters[0].adapter.validate_python("x") == "x"
    assert both.path_parameters[1].adapter.validate_python("7") == 7
    assert untyped.body is not None
    assert untyped.body.adapter is None
    assert untyped.body.required
    assert optional.body is not None
    assert not optional.body.required
    assert recursive.body is not None
    assert recursive.body.adapter is not None
    assert recursive.body.adapter.validate_python({"tail": {}}) == Chain(tail=Chain())
    assert keyword.body is not None
    assert keyword.body.name == "body"


def test_the_line_is_that_of_the_authors_function_also_behind_a_wrapper() -> None:
    """A decorator from elsewhere does not move the place where a fault is reported."""

    def plain(ctx: Context) -> None: ...

    @functools.wraps(plain)
    def wrapped(*args: Any) -> None:
        plain(*args)

    assert workflow(wrapped).line == plain.__code__.co_firstlineno


def named(name: str) -> Any:
    def function(ctx: Context) -> None: ...

    function.__name__ = name
    return function


def function_of(signature: str) -> Any:
    scope: dict[str, Any] = {"Order": Order, "Unfinished": Unfinished, "Positive": Annotated[int, Field(ge=1)]}
    exec(f"{signature}: return None", scope)
    return next(value for name, value in scope.items() if name.startswith("f"))


loosely: Any = workflow  # the table of mistakes breaks its types on purpose


def generating(ctx: Context) -> Any:
    yield 1


async def generating_async(ctx: Context) -> Any:
    yield 1


@table(
    ("make", "says"),
    [
        (lambda: loosely(durable=True, stateless=True), "exclude each other"),
        (lambda: loosely(signals=tenant_users()), "needs durable=True"),
        (lambda: loosely(durable=True, signals=anonymous(signed=True))(named("x")), "has no signed URL"),
        (lambda: loosely(durable=True, signals="lisa")(named("x")), "not an access mode"),
        (lambda: loosely(Order), "decorates a function"),
        (lambda: loosely(functools.partial(named("x"))), "decorates a function"),
        (lambda: loosely(loosely(named("x"))), "not Workflow"),
        (lambda: loosely(generating), "yields"),
        (lambda: loosely(generating_async), "yields"),
        (lambda: loosely(named("Find")), "'Find' cannot be a part of a URL"),
        (lambda: loosely(named("_find")), "'-find'"),
        (lambda: loosely(named("find__all")), "'find--all'"),
        (lambda: loosely(name="")(named("x")), "''"),
        (lambda: loosely(name="a/b")(named("x")), "'a/b'"),
        (lambda: loosely(name="a\n")(named("x")), "'a\\n'"),
        (lambda: loosely(name="été")(named("x")), "'été'"),
        (lambda: loosely(name=7)(named("x")), "7 cannot"),
        (lambda: loosely(access=anonymous)(named("x")), "not an access mode"),
        (lambda: loosely(access="anonymous")(named("x")), "not an access mode"),
        (lambda: loosely(methods="GET")(named("x")), 'methods=["GET"]'),
        (lambda: loosely(methods=[])(named("x")), "one or more"),
        (lambda: loosely(methods=["post"])(named("x")), "one or more"),
        (lambda: loosely(methods=["TRACE"])(named("x")), "one or more"),
        (lambda: loosely(timeout=0)(named("x")), "timeout=0"),
        (lambda: loosely(timeout=True)(named("x")), "timeout=True"),
        (lambda: loosely(timeout=float("nan"))(named("x")), "timeout=nan"),
        (lambda: loosely(timeout=float("inf"))(named("x")), "timeout=inf"),
        (lambda: loosely(timeout="5")(named("x")), "timeout='5'"),
        (lambda: loosely(max_concurrency=0)(named("x")), "max_concurrency=0"),
        (lambda: loosely(max_concurrency=True)(named("x")), "max_concurrency=True"),
        (lambda: loosely(max_body_bytes=1.5)(named("x")), "max_body_bytes=1.5"),
        (lambda: loosely(path="orders")(named("x")), "begins with a slash"),
        (lambda: loosely(path=None)(named("x")), "begins with a slash"),
        (lambda: loosely(path="/")(named("x")), "No part may be empty"),
        (lambda: loosely(path="/a/")(named("x")), "No part may be empty"),
        (lambda: loosely(path="/a//b")(named("x")), "No part may be empty"),
        (lambda: loosely(path="/../b")(named("x")), "'..'"),
        (lambda: loosely(path="/a-{b}")(named("x")), "'a-{b}'"),
        (lambda: loosely(path="/{a:path}")(named("x")), "'{a:path}'"),
        (lambda: loosely(path="/a%2Fb")(named("x")), "'a%2Fb'"),
        (lambda: loosely(path="/{a}/{a}")(named("x")), "has a parameter twice"),
        (lambda: loosely(path="/{ctx}")(named("x")), "takes no context"),
        (lambda: loosely(function_of("def f()")), "takes no context"),
        (lambda: loosely(function_of("def f(*args)")), "takes no context"),
        (lambda: loosely(function_of("def f(*, ctx)")), "takes no context"),
        (lambda: loosely(function_of("def f(ctx, *args)")), "*args or **kwargs"),
        (lambda: loosely(function_of("def f(ctx, **kwargs)")), "*args or **kwargs"),
        (lambda: loosely(function_of("def f(ctx, body, /)")), "leave out the `/`"),
        (lambda: loosely(function_of("def f(ctx, body, more)")), "'more'"),
        (lambda: loosely(path="/{a}")(function_of("def f(ctx, a, body)")), "'body'"),
        (lambda: loosely(function_of("def f(ctx, body: 'Missing')")), "'Missing'"),
        (lambda: loosely(function_of("def f(ctx, body: 'Order.missing')")), "not a type"),
        (lambda: loosely(function_of("def f(ctx, body: 'list[')")), "not a type"),
        (lambda: loosely(function_of("def f(ctx, body: Unfinished)")), "'DefinedTooLate'"),
    ],
)
def test_each_mistake_is_a_fault_that_names_it(make: Any, says: Any) -> None:
    """A workflow that is not valid raises when it is defined, and the error says what to change."""
    with pytest.raises(WorkflowFault) as caught:
        make()

    assert says in str(caught.value)


@pytest.mark.parametrize("status", [200, 204, 299, 400, 404, 599, HTTPStatus.CREATED])
def test_a_reply_has_a_status_of_2xx_4xx_or_5xx(status: Any) -> None:
    """Logic Apps' rule."""
    assert Reply(status, {"id": 7}, {"Location": "/x", "X-Empty": ""}).status == status


@table(
    ("status", "headers"),
    [
        (100, {}),
        (199, {}),
        (302, {}),
        (600, {}),
        (200.5, {}),
        ("200", {}),
        (200, {"Content-Length": "1"}),
        (200, {"transfer-encoding": "chunked"}),
        (200, {"Connection": "close"}),
        (200, {"X Y": "1"}),
        (200, {"": "1"}),
        (200, {"X-Y:": "1"}),
        (200, {"X-Y": "1\r\nSet-Cookie: a=b"}),
        (200, {"X-Y": "1\n"}),
        (200, {"X-Y": "é"}),
        (200, {"X-Y": 1}),
        (200, {"Set-Cookie": ["a=1", "b=2\r\nX: y"]}),
        (200, {"Set-Cookie": ["a=1", 2]}),
        (200, {"Set-Cookie": {"a": "1"}}),
        (200, {"Content-Type": ["text/plain", "text/html"]}),
    ],
)
def test_a_reply_cannot_break_the_framing(status: Any, headers: Any) -> None:
    """Neither a status nor a header can be said that would confuse what is on the wire."""
    with pytest.raises(ValueError, match=r"Reply|header"):
        Reply(status, None, headers)


def test_a_request_is_read_as_its_author_expects() -> None:
    """Headers without regard to case, repeated query parameters, a body as text."""
    request = Request(
        "POST",
        "/triggers/x",
        _raw_headers=((b"x-one", b"1"), (b"x-one", b"2")),
        query_string=b"a=1&a=2&b=%20",
        body=b"caf\xc3\xa9 \xff",
    )

    assert request.headers.getlist("X-ONE") == ["1", "2"]
    assert request.query.getlist("a") == ["1", "2"]
    assert request.query["b"] == " "
    assert request.text == "café \ufffd"


def test_credentials_that_were_checked_are_withheld() -> None:
    """A workflow behind an authenticated trigger cannot leak the token that let its caller in."""
    sent = ((b"authorization", b"Bearer x"), (b"x-one", b"1"))
    request = Request("POST", "/x", _raw_headers=sent, _withheld=frozenset({b"authorization"}))

    assert dict(request.headers) == {"x-one": "1"}


def test_the_request_is_not_in_the_repr() -> None:
    """Headers, query and body may hold secrets: a log of the request shows none of them."""
    request = Request("POST", "/x", {"id": "s3cret"}, "127.0.0.1", b"s3cret", b"key=s3cret", ((b"api-key", b"s3cret"),))

    assert "s3cret" not in repr(request)
