"""Which trigger a URL names, and that path tricks name none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern import Context, Problem, anonymous, workflow
from postern.access import OPEN
from postern.catalog import Trigger
from postern.triggers.find import find
from tests.table import table


@workflow(access=anonymous(), methods=["GET", "POST"])
async def hello(ctx: Context) -> str:
    return "hello"


@workflow(access=anonymous(), path="/orders/{order_id}/lines/{line}")
async def order(ctx: Context, order_id: str, line: int) -> str:
    return "order"


TRIGGERS = {made.name: Trigger(made, OPEN, Path("x.py")) for made in (hello, order)}


@pytest.mark.parametrize(
    ("method", "path", "name", "parameters"),
    [
        ("POST", b"/triggers/hello", "hello", {}),
        ("GET", b"/triggers/hello", "hello", {}),
        ("POST", b"/triggers/order/orders/42/lines/1", "order", {"order_id": "42", "line": "1"}),
        (
            "POST",
            b"/triggers/order/orders/caf%C3%A9%20au%20lait/lines/1",
            "order",
            {"order_id": "café au lait", "line": "1"},
        ),
        ("POST", b"/triggers/order/orders/%25/lines/x", "order", {"order_id": "%", "line": "x"}),
        ("POST", b"/triggers/order/orders/a+b/lines/1", "order", {"order_id": "a+b", "line": "1"}),
    ],
)
def test_a_trigger_is_found_by_its_name_and_relative_path(method, path, name, parameters):
    found = find(TRIGGERS, method, path)
    assert found[0].workflow.name == name
    assert found[1] == parameters


@table(
    "path",
    [
        b"",
        b"/",
        b"/triggers",
        b"/triggers/",
        b"/triggers//hello",
        b"//triggers/hello",
        b"/triggers/hello/",
        b"/triggers/hello//",
        b"/triggers/./hello",
        b"/triggers/x/../hello",
        b"/triggers/hello/..",
        b"/triggers/%2e%2e/hello",
        b"/triggers/%68ello",
        b"/Triggers/hello",
        b"/triggers/Hello",
        b"/triggers/HELLO",
        b"/%74riggers/hello",
        b"/triggers%2Fhello",
        b"/triggers/hello%2F",
        b"/triggers/hello%00",
        b"/triggers/hello;a=b",
        b"/triggers\\hello",
        b"/triggers/hello\xc3\xa9",
        b"/triggers/order",
        b"/triggers/order/",
        b"/triggers/order/orders/42/lines",
        b"/triggers/order/orders/42/lines/1/",
        b"/triggers/order/orders//lines/1",
        b"/triggers/order/orders/./lines/1",
        b"/triggers/order/orders/../lines/1",
        b"/triggers/order/orders/%2e%2E/lines/1",
        b"/triggers/order/orders/a%2Fb/lines/1",
        b"/triggers/order/orders/a%5Cb/lines/1",
        b"/triggers/order/orders/a\\b/lines/1",
        b"/triggers/order/orders/a%00b/lines/1",
        b"/triggers/order/orders/a%0d%0ab/lines/1",
        b"/triggers/order/orders/%ff/lines/1",
        b"/triggers/order/orders/%zz/lines/1",
        b"/triggers/order/orders/%2/lines/1",
        b"/triggers/order/orders/%/lines/1",
        b"/triggers/order/Orders/42/lines/1",
        b"/triggers/order/%6frders/42/lines/1",
    ],
)
def test_anything_else_is_an_unknown_trigger(path):
    with pytest.raises(Problem) as caught:
        find(TRIGGERS, "POST", path)
    assert caught.value.code == "unknown-trigger"


@table("method", ["GET", "PUT", "HEAD", "OPTIONS", "TRACE", "post", "CONNECT", ""])
def test_another_method_is_rejected_and_the_declared_ones_are_named(method):
    with pytest.raises(Problem) as caught:
        find(TRIGGERS, method, b"/triggers/order/orders/42/lines/1")
    assert caught.value.code == "method-not-allowed"
    assert caught.value.headers == {"Allow": "POST"}


@given(st.binary(max_size=60))
def test_any_path_is_found_or_is_a_problem(tail):
    """No bytes of a path raise anything but a Problem."""
    for path in (tail, b"/triggers/" + tail, b"/triggers/order/orders/" + tail + b"/lines/1"):
        try:
            found = find(TRIGGERS, "POST", path)
        except Problem as problem:
            assert problem.status == 404
        else:
            assert all(
                text not in ("", ".", "..") and "/" not in text and "\\" not in text for text in found[1].values()
            )


@pytest.mark.parametrize("methods", [["GET"], ["GET", "POST"], ["GET", "HEAD"], ["HEAD"]])
def test_head_works_wherever_get_does(methods: list[str]):
    """RFC 9110, section 9.1."""

    @workflow(access=anonymous(), methods=methods)
    async def page(ctx: Context) -> None: ...

    triggers = {"page": Trigger(page, OPEN, Path("page.py"))}
    assert find(triggers, "HEAD", b"/triggers/page")[0] is triggers["page"]
    with pytest.raises(Problem) as caught:
        find(triggers, "PUT", b"/triggers/page")
    assert str(caught.value.headers["Allow"]).count("HEAD") == 1
