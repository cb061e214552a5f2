"""Lines of JSON by one format: they say the same as lines that are made value by value."""

import json

from hypothesis import given
from hypothesis import strategies as st

from postern.logs.bounds import MOST_OF_A_LINE
from postern.logs.line_shape import MILLISECONDS, TEXT, WHOLE, LineShape, quick_lines
from tests.table import table

SHAPE = LineShape("asked", {"who": TEXT, "status": WHOLE, "ms": MILLISECONDS})
NOW = "2026-11-30T07:00:00.000Z"


def test_a_line_has_its_time_level_event_and_fields_in_this_order():
    made = quick_lines(SHAPE, [(NOW, "ada", 200, 1.23456), (NOW, "lisa", 404, 0.0)], MOST_OF_A_LINE)
    assert made is not None
    first, second = map(json.loads, made.split(b"\n"))
    assert list(first.items()) == [
        ("timestamp", NOW),
        ("level", "info"),
        ("event", "asked"),
        ("who", "ada"),
        ("status", 200),
        ("ms", 1.235),
    ]
    assert (second["who"], second["status"], second["ms"]) == ("lisa", 404, 0.0)


UNUSUAL = ['a"b', "a\\b", "a\nb", "a\x7fb", "ü", "\u2028", "eyJhbGciOiJSUzI1NiJ9", "x" * MOST_OF_A_LINE]


@table("who", UNUSUAL)
def test_values_that_need_an_escape_or_could_be_a_token_are_left_to_the_usual_way(who: str):
    assert quick_lines(SHAPE, [(NOW, "ada", 200, 1.0), (NOW, who, 200, 1.0)], MOST_OF_A_LINE) is None


@given(st.lists(st.tuples(st.text(), st.integers(), st.floats(0, 1e6)), min_size=1, max_size=5))
def test_lines_are_those_of_their_values_or_none(values: list[tuple[str, int, float]]):
    made = quick_lines(SHAPE, [(NOW, *each) for each in values], MOST_OF_A_LINE)
    if made is not None:
        found = [json.loads(line) for line in made.split(b"\n")]
        assert [(line["who"], line["status"]) for line in found] == [(who, status) for who, status, _ in values]
        assert [SHAPE.fields(each) | {"timestamp": NOW, "level": "info", "event": "asked"} for each in values] == found
