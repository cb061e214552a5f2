"""A run in words, and JSON as people read it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.console.bodies import SHOWN_AT_FIRST, input_of, readable
from postern.console.json_text import MOST_DEPTH, MOST_GROWTH, beginning, spread_out
from postern.console.run_pages import last_after, steps_words
from postern.console.run_words import caller_words, error_line, sentence, step_that_ended
from postern.journal.body_form import Form
from postern.journal.reading.step_window import StepWindow
from postern.journal.run import Attempt, State, Step
from tests.api.records import ADA, record
from tests.journal.recorded import NOON
from tests.table import table


@table(
    ("fields", "step", "said"),
    [
        ({}, "", "Succeeded in 250 ms"),
        ({"state": State.FAILED, "ended_at": NOON + 41.9}, "ask-graph", "Failed after 41.9 s in step ask-graph"),
        ({"state": State.TIMED_OUT, "ended_at": NOON + 30}, "", "Timed out after 30.0 s"),
        ({"state": State.CANCELLED, "ended_at": NOON + 185}, "wait", "Cancelled after 3 min 5 s in step wait"),
        ({"state": State.INTERRUPTED}, "", "Interrupted after 250 ms"),
        ({"state": State.INTERRUPTED, "ended_at": None}, "", "Interrupted: its server process ended"),
        ({"state": State.WAITING, "ended_at": None}, "", "Waiting for its turn"),
        ({"state": State.RUNNING, "ended_at": None}, "", "Running for 1 min"),
        (
            {"state": State.RUNNING, "ended_at": None, "cancel_requested_at": NOON},
            "",
            "Running for 1 min, cancellation requested",
        ),
    ],
)
def test_a_run_is_one_sentence(fields: dict[str, Any], step: str, said: str):
    assert sentence(record(**fields), step, NOON + 60) == said


def step(number: int, begin: float, end: float, error: str = "") -> Step:
    return Step(number, f"step-{number}", not error, [Attempt(NOON + begin, NOON + end, error)])


@table(
    ("state", "error", "steps", "named"),
    [
        (State.FAILED, "Boom", [step(1, 0, 1), step(2, 1, 2, "Boom")], "step-2"),
        (State.FAILED, "Boom", [step(1, 0, 1, "Boom"), step(2, 1, 2)], ""),  # it went on
        (State.FAILED, "Boom", [step(1, 0, 3, "Boom"), step(2, 1, 2)], "step-1"),  # they ran at the same time
        (State.FAILED, "Other", [step(1, 0, 1, "Boom")], ""),  # caught, and another one raised
        (State.FAILED, "Boom", [], ""),
        (State.FAILED, "Boom", [Step(1, "none", False, [])], ""),
        (State.TIMED_OUT, "timed-out", [step(1, 0, 1, "CancelledError")], "step-1"),
        (State.TIMED_OUT, "timed-out", [step(1, 0, 1, "Boom")], ""),
        (State.CANCELLED, "run-cancelled", [step(1, 0, 1, "CancelledError")], "step-1"),
        (State.SUCCEEDED, None, [step(1, 0, 1, "Boom")], ""),
        (State.RUNNING, None, [step(1, 0, 1, "Boom")], ""),
    ],
)
def test_the_step_is_named_only_where_it_ended_the_run(state: State, error: str | None, steps: list[Step], named: str):
    window = StepWindow(0, tuple(steps), more=False, failed=(), last=steps[-1] if steps else None, examined=True)
    assert step_that_ended(record(state=state, error_type=error), window) == named


@pytest.mark.parametrize(
    ("fields", "private", "line"),
    [
        ({}, True, ""),
        ({"error_type": "E", "error_message": "why"}, True, "E: why"),
        ({"error_type": "E", "error_message": "why"}, False, "E"),
        ({"error_type": "E", "error_message": "why", "error_shown": True}, False, "E: why"),
        ({"error_type": "E"}, True, "E"),
        ({"error_type": "E", "error_message": "a\nb"}, True, "E: a\\x0ab"),
        ({"error_type": "E", "error_message": "x" * 300}, True, "E: " + "x" * 197 + "…"),
    ],
)
def test_an_error_is_one_line_in_a_list(fields: dict[str, Any], private: bool, line: str):
    assert error_line(record(**fields), private=private) == line


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "anonymous"),
        ({"caller_name": "link partner-x"}, "anonymous, link partner-x"),
        ({"caller_kind": "user", "caller_name": "Ada", "object_id": ADA}, "Ada"),
        ({"caller_kind": "user", "object_id": ADA}, ADA),
        ({"caller_kind": "application", "client_id": "c"}, "c"),
        ({"caller_kind": "application"}, "application"),
        ({"caller_kind": "schedule", "caller_name": "schedule 0 7 * * * UTC"}, "schedule 0 7 * * * UTC"),
        ({"caller_kind": "failure", "caller_name": "failure of nightly"}, "failure of nightly"),
        ({"caller_kind": "finding"}, "a finding"),
    ],
)
def test_a_caller_is_a_name_or_an_id(fields: dict[str, Any], said: str):
    assert caller_words(record(**fields)) == said


SPREAD_OUT = """{
  "a": 1.50,
  "a": 1E400,
  "b": [],
  "c": {},
  "d": [
    "x,\\"y{"
  ]
}"""


def test_json_has_a_line_for_each_member_and_keeps_its_numbers():
    assert spread_out('{"a":1.50,"a":1E400,"b":[],"c":{ },"d":["x,\\"y{"]}') == SPREAD_OUT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.sampled_from([None, 1, 4]), st.booleans())
def test_json_that_is_spread_out_is_the_same_document(value: Any, indent: int | None, escaped: bool):
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    shown = spread_out(text)
    assert json.loads(shown) == value
    assert shown == json.dumps(value, indent=2, ensure_ascii=escaped)
    assert spread_out(shown) == shown


def test_a_deep_document_is_shown_as_it_is():
    deep = "[" * (MOST_DEPTH + 1) + "1" + "]" * (MOST_DEPTH + 1)
    assert spread_out(deep) == deep


@pytest.mark.parametrize("member", ["1", "[]", '{"":1}'])
def test_a_small_document_never_becomes_a_page_of_megabytes(member: str):
    """Each member is indented by its depth, so 64 KiB of a caller would become 6 MiB at each look."""
    levels = MOST_DEPTH - 2
    text = "[" * levels + ",".join([member] * 9000) + "]" * levels
    assert spread_out(text) == text
    shallow = "[" + ",".join([member] * 9000) + "]"
    assert len(shallow) < len(spread_out(shallow)) <= MOST_GROWTH * len(shallow)


@given(JSON, st.integers(0, 200))
def test_the_beginning_of_a_document_is_that_of_the_whole(value: Any, most: int):
    text = json.dumps(value)
    begin, behind = beginning(text, most)
    assert spread_out(text).startswith(begin)
    assert len(begin) >= most or not behind
    assert (begin == spread_out(text)) == (behind == 0)


@pytest.mark.parametrize("text", ["", "{", '{"a":}', "nothing", '"\\ud800"', "[1,]", "\ufeff[1]"])
def test_any_text_is_shown(text: str):
    assert readable(text, Form.JSON)[:1] == (text.removeprefix("\ufeff") if text == "\ufeff[1]" else text)[:1]


def test_a_body_is_cut_where_the_page_says_so():
    body = input_of(record(inputs="y" * (SHOWN_AT_FIRST + 5), inputs_form=Form.TEXT), whole=False)
    assert (len(body.text or ""), body.left_out) == (SHOWN_AT_FIRST, 5)
    hidden = input_of(record(inputs="\0" * SHOWN_AT_FIRST, inputs_form=Form.TEXT), whole=False)
    assert (len(hidden.text or ""), hidden.left_out) == (SHOWN_AT_FIRST, 3 * SHOWN_AT_FIRST)
    listed = input_of(record(inputs=json.dumps(["y"] * SHOWN_AT_FIRST), inputs_form=Form.JSON), whole=False)
    assert (len(listed.text or ""), listed.left_out > 0) == (SHOWN_AT_FIRST, True)
    body = input_of(record(inputs="y" * (SHOWN_AT_FIRST + 5), inputs_form=Form.TEXT), whole=True)
    assert (len(body.text or ""), body.left_out) == (SHOWN_AT_FIRST + 5, 0)


@pytest.mark.parametrize(
    ("shown", "total", "words", "after_last"),
    [
        ((1, 2), 2, "2 steps", None),
        ((1, 50), 60, "60 steps, 1 to 50 shown", None),
        ((1, 50), 120, "120 steps, 1 to 50 shown", 70),
        ((1, 50), 25_000, "25 000 steps, 1 to 50 shown; failed ones are sought among the last 20 000", 24_950),
    ],
)
def test_a_long_run_says_which_steps_are_shown_and_where_its_last_ones_are(
    shown: tuple[int, int], total: int, words: str, after_last: int | None
):
    steps = tuple(Step(number, "step", True, []) for number in range(shown[0], shown[1] + 1))
    last = Step(total, "step", True, [])
    window = StepWindow(0, steps, total > shown[1], (), last, examined=total <= 20_000)
    assert steps_words(window).replace("\N{NARROW NO-BREAK SPACE}", " ") == words
    assert last_after(window) == after_last
