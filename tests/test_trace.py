"""W3C Trace Context: what is understood, what is ignored, and what is passed on."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern import Caller, Context, Request
from postern.ids import new_id
from postern.trace import LONGEST_STATE, Trace, parse, parse_state, trace_id_of, traceparent
from tests.runs.contexts import context
from tests.table import table

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01".encode()


@pytest.mark.parametrize(
    ("field", "flags"),
    [
        (VALID, 1),
        (f"00-{TRACE}-{PARENT}-00".encode(), 0),
        (f"00-{TRACE}-{PARENT}-03".encode(), 3),
        (f"00-{TRACE}-{PARENT}-ff".encode(), 3),
        (f"cc-{TRACE}-{PARENT}-03".encode(), 1),
        (f"01-{TRACE}-{PARENT}-01-what-comes-later".encode(), 1),
        (f"01-{TRACE}-{PARENT}-01-".encode(), 1),
    ],
)
def test_a_valid_field_names_a_trace_with_the_flags_that_its_version_knows(field, flags):
    assert parse(field) == Trace(TRACE, PARENT, flags)


@table(
    "field",
    [
        b"",
        b"00",
        VALID + b"-",
        VALID + b"-extra",
        VALID + b"\n",
        b" " + VALID,
        VALID.upper(),
        b"ff" + VALID[2:],
        b"cc" + VALID[2:] + b"extra",
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE[1:]}-{PARENT}-01".encode(),
        f"00-{TRACE}-{PARENT}-1".encode(),
        f"00-{TRACE}-{PARENT}-0g".encode(),
        f"0-{TRACE}-{PARENT}-01".encode(),
        f"00_{TRACE}_{PARENT}_01".encode(),
        VALID.replace(b"b7", "\u0661\u0661".encode()),
        VALID + b"," + VALID,
        b"\xff" * 55,
    ],
)
def test_an_invalid_field_is_ignored(field):
    assert parse(field) is None


@given(st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*"))
def test_any_field_is_ignored_or_names_a_trace_that_is_passed_on_with_the_same_id_and_flags(field):
    trace = parse(field)
    if trace is None:
        return
    assert field[3:35].decode() == trace.trace_id
    passed_on = parse(traceparent("018f0000-0000-7000-8000-000000000000", trace).encode())
    assert passed_on is not None
    assert (passed_on.trace_id, passed_on.flags) == (trace.trace_id, trace.flags)
    assert passed_on.parent_id != trace.parent_id


@table(
    ("field", "passed_on"),
    [
        ("vendor=1", "vendor=1"),
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (" a=1 ,\tb=2,, ,c=3", "a=1,b=2,c=3"),
        ("1a@vendor=x y", "1a@vendor=x y"),
        ("a=" + "x" * 256, "a=" + "x" * 256),
        ("a=" + "x" * 257, ""),
        ("a" * 257 + "=x", ""),
        ("a", ""),
        ("=1", ""),
        ("a=", ""),
        ("a=1=2", ""),
        ("A=1", ""),
        ("a=1,a=2", ""),
        ("a=\x7f", ""),
        ("a=1\r\nX-Forged: 1", ""),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("long=" + "x" * 200 + "," + ",".join(f"k{n}=" + "y" * 20 for n in range(15)),
         ",".join(f"k{n}=" + "y" * 20 for n in range(15))),
        (",".join(f"k{n}=" + "y" * 100 for n in range(9)), ",".join(f"k{n}=" + "y" * 100 for n in range(4))),
        ("x" * 10_000, ""),
    ],
)  # fmt: skip
def test_a_valid_tracestate_is_passed_on_in_bounds_and_another_one_is_discarded(field, passed_on):
    assert parse_state(field.encode("latin-1")) == passed_on


@given(st.binary(max_size=900) | st.from_regex(rb"([a-z]{1,9}=[!-~]{1,90},){0,20}"))
def test_any_tracestate_that_is_passed_on_is_valid_and_short(field):
    state = parse_state(field)
    assert len(state) <= LONGEST_STATE
    assert parse_state(state.encode()) == state
    assert state.isprintable()


def test_a_tracestate_belongs_to_its_traceparent():
    assert parse(VALID, b"vendor=1") == Trace(TRACE, PARENT, 1, "vendor=1")
    assert parse(b"invalid", b"vendor=1") is None


def test_a_run_without_a_trace_has_one_of_its_own_that_does_not_give_its_id_away():
    """The id of an anonymous caller's run is enough to read its record."""
    run_id = new_id()
    assert re.fullmatch("[0-9a-f]{32}", trace_id_of(run_id))
    digits = run_id.replace("-", "")
    passed_on = traceparent(run_id)
    assert not any(digits[n : n + 8] in passed_on for n in range(24))
    assert trace_id_of(run_id) != trace_id_of(new_id())
    assert parse(passed_on.encode()) == Trace(trace_id_of(run_id), passed_on.split("-")[2], 1)


def test_a_context_has_the_trace_and_the_header_to_pass_on():
    ctx = context(trace=Trace(TRACE, PARENT, 0))
    assert ctx.trace_id == TRACE
    assert ctx.traceparent == traceparent(ctx.run_id, ctx.request.trace)
    assert ctx.traceparent.startswith(f"00-{TRACE}-")
    assert ctx.traceparent.endswith("-00")
    alone = Context(Request("POST", "/"), Caller("anonymous"), "run-1", "x", ctx._services)
    assert alone.trace_id == trace_id_of("run-1")
