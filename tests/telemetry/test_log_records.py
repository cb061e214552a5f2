"""Lines of the log as log records."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span

from postern.telemetry.log_records import MOST_ATTRIBUTES, log_record
from postern.trace import run_span_id, trace_id_of
from tests.table import table

RUN = "019b796d-d600-7000-8000-000000000001"
LINE = {"timestamp": "2026-11-29T20:00:00.250Z", "level": "warning", "event": "step-retried", "logger": "postern"}


def record(**fields):
    found = log_record(json.dumps(LINE | fields).encode(), 7)
    assert found is not None
    return found


def test_a_line_becomes_a_record_with_its_fields():
    found = record(wait=0.5, names=["a", "b"], nothing=None, on=True)

    assert (found.timestamp, found.observed_timestamp) == (1795982400250 * 1_000_000, 7)
    assert (found.severity_text, found.severity_number.value, found.body) == ("WARNING", 13, "step-retried")
    assert dict(found.attributes or {}) == {
        "logger": "postern", "wait": 0.5, "names": '["a", "b"]', "nothing": "null", "on": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "trace", "span"),
    [
        ({}, "", ""),
        ({"trace_id": "0af7651916cd43dd8448eb211c80319c"}, "0af7651916cd43dd8448eb211c80319c", "0" * 16),
        ({"run_id": RUN}, trace_id_of(RUN), run_span_id(RUN)),
        ({"run_id": RUN, "trace_id": "1" * 32}, "1" * 32, run_span_id(RUN)),
        ({"trace_id": "not hexadecimal"}, "", ""),
        ({"trace_id": 7, "run_id": 7}, "", ""),
    ],
)
def test_a_line_belongs_to_the_span_of_its_run(fields, trace, span):
    at = get_current_span(record(**fields).context).get_span_context()

    assert (at.trace_id, at.span_id) == (int(trace or "0", 16), int(span or "0", 16))


@table("line", [b"", b"{}", b"[]", b"7", b"null", b'{"timestamp": 7}', b'{"timestamp": "soon"}', b"\xff"])
def test_what_is_no_line_is_no_record(line):
    assert log_record(line, 0) is None


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), max_size=9)
)
def test_any_fields_make_a_record_with_bounded_attributes(fields):
    found = log_record(json.dumps(fields | {str(n): n for n in range(200)} | LINE).encode(), 0)

    assert found is not None
    assert len(found.attributes or ()) <= MOST_ATTRIBUTES
