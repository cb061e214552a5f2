"""Spans as the server's parts note them."""

import asyncio

import pytest

from postern.telemetry.spans import CURRENT, Ended, NoSpan, Position, new_span_id, span

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def taken():
    found: list[Ended] = []
    token = CURRENT.set(Position(found.append, TRACE, "b7ad6b7169203331", 1, "vendor=1"))
    yield found
    CURRENT.reset(token)


def test_without_a_trace_there_is_no_span():
    with span("step x") as going:
        going.set("postern.attempts", 1)
        going.error = "ignored"
        assert isinstance(going, NoSpan)
        assert CURRENT.get() is None


def test_spans_are_nested_and_end_with_their_times_and_attributes(taken):
    with span("outer", "client") as outer:
        outer.set("http.response.status_code", 404)
        outer.error = "404"
        with span("inner", span_id="00f067aa0ba902b7"):
            inside = CURRENT.get()
    inner, ended = taken

    assert (inner.name, inner.kind, inner.span_id, inner.error) == ("inner", "internal", "00f067aa0ba902b7", "")
    assert inner.parent_id == ended.span_id
    assert (ended.parent_id, ended.trace_id, ended.flags, ended.state) == ("b7ad6b7169203331", TRACE, 1, "vendor=1")
    assert (ended.attributes, ended.error) == ({"http.response.status_code": 404}, "404")
    assert ended.start <= inner.start <= inner.end <= ended.end
    assert inside is not None
    assert inside.traceparent == f"00-{TRACE}-00f067aa0ba902b7-01"


def test_an_error_is_its_type_and_never_its_text(taken):
    class Named(type):
        @property
        def __name__(cls):  # type: ignore[override]
            raise RuntimeError("a metaclass of an author")

    class Odd(Exception, metaclass=Named):
        pass

    for raised, hides in (
        (KeyError("a secret"), False),
        (Odd(), False),
        (Odd(), True),
        (asyncio.CancelledError(), False),
    ):
        with pytest.raises(BaseException), span("step", hides_errors=hides):  # noqa: B017, PT011
            raise raised

    assert [each.error for each in taken] == ["KeyError", "Odd", "error", "CancelledError"]


@pytest.mark.anyio
async def test_tasks_of_a_run_are_below_its_span(taken):
    async def part(name):
        with span(name):
            await asyncio.sleep(0)

    with span("run"):
        await asyncio.gather(part("a"), part("b"))
    a, b, run = taken

    assert {a.parent_id, b.parent_id} == {run.span_id}


def test_ids_are_sixteen_digits_and_never_zero(monkeypatch):
    monkeypatch.setattr("random.getrandbits", lambda bits: 0)
    assert new_span_id() == "0000000000000001"
