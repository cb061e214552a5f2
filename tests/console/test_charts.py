"""The pictures: what they show, and what they say to those who do not see them."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.console import charts
from postern.console.axis import CUT, FREE, Axis, elapsed
from postern.console.charts import MOST_SHOWN, activity, backdrop, lane, lane_words, nice, ruler, spread, sprite, state
from postern.journal.reading.activity import Minute
from postern.journal.run import Attempt, State
from tests.table import table

pytestmark = pytest.mark.slow

NOON = 1_767_268_800.0

moments = st.floats(0, 4e9)
attempts = st.lists(
    st.builds(
        lambda begin, took, error: Attempt(begin, begin + took, error),
        moments,
        st.one_of(st.just(0.0), st.floats(-10, 1e7)),
        st.sampled_from(["", "HTTPStatusError", '"><script>']),
    ),
    max_size=8,
)
durations = st.one_of(st.none(), st.floats(0, 1e7))
minutes = st.lists(
    st.builds(
        Minute,
        at=st.integers(0, 10_000).map(lambda number: NOON + 60 * number),
        total=st.one_of(st.integers(0, 20), st.integers(0, 10**9)),
        failed=st.integers(0, 10**6),
        median=durations,
        most=durations,
        estimated=st.booleans(),
    ),
    max_size=60,
)


def parsed(svg: str) -> ET.Element:
    """The picture as XML: it is well formed, and no number in it is none."""
    assert not re.search(r"\b(nan|inf)\b", re.sub(r'(aria-label="[^"]*")|(<title>.*?</title>)', "", svg), re.IGNORECASE)
    return ET.fromstring(f"<all>{svg}</all>")


def places(drawn: ET.Element) -> list[float]:
    """All numbers that say where on the width something is, from 0 to 1."""
    found = [each.get(name) for each in drawn.iter() for name in ("x", "x1", "x2", "cx", "width")]
    return [float(value[:-1]) / 100 for value in found if value is not None and value.endswith("%")]


# The axis


@given(st.lists(moments, max_size=12), st.lists(moments, max_size=6))
def test_an_axis_never_leaves_its_width_and_never_goes_back(points: list[float], others: list[float]):
    axis = Axis.of(points)
    found = [axis.x(moment) for moment in sorted([*points, *others])]
    assert all(0 <= x <= 1 for x in found)
    assert found == sorted(found)


@given(st.lists(moments, min_size=2, max_size=12))
def test_an_axis_begins_with_the_first_moment_and_ends_with_the_last(points: list[float]):
    axis = Axis.of(points)
    assert axis.x(min(points)) == 0
    if max(points) - min(points) >= 0.001:
        assert axis.x(max(points)) == pytest.approx(1, abs=0.005)


@given(st.lists(moments, max_size=12))
def test_the_ticks_of_an_axis_are_few_in_order_and_apart(points: list[float]):
    found = [x for x, _ in Axis.of(points).ticks()]
    assert found[0] == 0
    assert len(found) <= 14
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(found))
    assert all(0 <= x < 0.96 for x in found)


@table(
    ("points", "cut"),
    [
        ([0, 1, 2, 3], []),
        ([0, 1, 100, 101], [(1, 100)]),
        ([0, 1, 101, 201, 202], [(1, 101), (101, 201)]),  # neither alone is long beside the other
        ([0, 1, 3, 5], []),
        ([0, 5000], []),
        ([0, 1, 101, 201, 301, 401], []),  # too many to cut out
        ([0, 0.001, 0.9, 0.901], []),  # a run that took less than a second
        ([7, 7, 7], []),
        ([], []),
    ],
)
def test_long_stretches_without_anything_are_cut_out(points: list[float], cut: list[tuple[float, float]]):
    axis = Axis.of(points)
    assert [(round(begin), round(end)) for begin, end in axis.cuts] == cut
    for begin, end in axis.cuts:
        assert axis.x(end) - axis.x(begin) == pytest.approx(CUT)


@given(st.lists(moments, max_size=12))
def test_no_tick_is_written_where_a_cut_says_how_long_it_is(points: list[float]):
    axis = Axis.of(points)
    for x, _ in axis.ticks()[1:]:
        assert all(abs(x - (axis.x(begin) + axis.x(end)) / 2) >= FREE for begin, end in axis.cuts)


def test_a_cut_leaves_the_ends_of_its_stretch():
    axis = Axis.of([0, 1, 100, 101])
    ((begin, end),) = axis.cuts
    assert 1 < begin < 2
    assert 99 < end < 100


@pytest.mark.parametrize(
    ("seconds", "step", "words"),
    [
        (0, 1, "0"),
        (0.04, 0.01, "40 ms"),
        (1.25, 0.05, "1.250 s"),
        (2.5, 0.5, "2.5 s"),
        (150, 30, "2:30"),
        (7415, 5, "2:03:35"),
        (7500, 300, "2:05 h"),
    ],
)
def test_a_tick_is_as_exact_as_the_ruler(seconds: float, step: float, words: str):
    assert elapsed(seconds, step) == words


# Lanes


@given(attempts)
def test_a_lane_stays_within_its_width_whatever_clocks_say(made: list[Attempt]):
    points = [moment for each in made for moment in (each.started_at, each.ended_at)]
    axis = Axis.of(points[: len(points) // 2])  # the other half may be outside
    for picture in (lane(axis, made), ruler(axis), backdrop(axis)):
        assert all(0 <= place <= 1 for place in places(parsed(picture)))


def test_a_lane_shows_attempts_with_the_waits_between_them_and_where_the_axis_is_cut():
    made = [Attempt(0.0, 2.0, "ConnectError"), Attempt(900.0, 901.0)]
    axis = Axis.of([0.0, 2.0, 900.0, 901.0])
    drawn = parsed(lane(axis, made))
    kinds = [each.get("class") for each in drawn.iter() if each.get("class")]
    assert kinds == ["lane", "span failed", "span failed", "wait", "span ", "span "]
    whole = parsed(lane(axis, [Attempt(0.0, 901.0)], "run"))
    assert [each.get("class") for each in whole.iter() if each.get("class")][-2:] == ["gap", "break"]


def test_a_lane_says_its_figures():
    axis = Axis.of([0.0, 42.0])
    assert lane_words(axis, [Attempt(0.0, 41.9)]) == "starts at once; 41.9 s"
    retried = [Attempt(0.3, 2.3, "HTTPStatusError"), Attempt(8.0, 9.0)]
    assert lane_words(axis, retried) == "starts after 300 ms; 2 attempts: 2.0 s, HTTPStatusError; 5.7 s later 1.0 s"
    assert lane_words(axis, []) == "not started"
    many = [Attempt(float(n), n + 0.5, "E") for n in range(20)]
    assert lane_words(axis, many).endswith("; 15 more")
    label = parsed(lane(axis, retried))[0].get("aria-label")
    assert label == lane_words(axis, retried)


def test_a_lane_of_very_many_attempts_stays_small():
    made = [Attempt(n * 2.0, n * 2.0 + 1, "E") for n in range(20_000)]
    drawn = lane(Axis.of([0, 40_000]), made)
    assert drawn.count("<svg") == MOST_SHOWN + 1


# Runs per minute


@given(minutes)
def test_bars_and_ranges_stay_within_the_picture(made: list[Minute]):
    for picture in (activity(made, lambda minute: f"/console/runs?since={minute.at:.0f}"), spread(made)):
        drawn = parsed(picture)
        assert all(0 <= place <= 1.0001 for place in places(drawn))
        for each in drawn.iter():
            heights = [float(each.get(name) or 0) for name in ("y", "y1", "y2", "cy", "height")]
            assert all(0 <= height <= charts.WHOLE for height in heights)
            assert all(math.isfinite(height) for height in heights)


@given(st.integers(0, 10**12))
def test_the_scale_of_runs_is_a_round_number_and_not_much_larger(value: int):
    found = nice(value)
    assert value <= found < max(value, 1) * 2.5 + 1
    assert re.fullmatch("[125]0*", str(found))


def test_runs_per_minute_say_how_many_there_were_and_failures_are_seen_however_few():
    made = [Minute(NOON, 1000, 1), Minute(NOON + 60, 7, 0), Minute(NOON + 120)]
    drawn = parsed(activity(made, lambda minute: f"/runs?at={minute.at:.0f}&x=1"))
    label = next(each.get("aria-label") for each in drawn.iter() if each.get("class") == "plot")
    assert label == "Runs per minute: 1\N{NARROW NO-BREAK SPACE}007 runs, 1 failed"
    titles = [each.text for each in drawn.iter("title")]
    assert titles[1:] == ["12:01: 7 runs, 0 failed", "12:02: 0 runs, 0 failed"]
    assert next(each.get("href") for each in drawn.iter("a")) == "/runs?at=1767268800&x=1"
    heights = [float(each.get("height") or 0) for each in drawn.iter() if each.get("class") == "bar failed"]
    assert heights == [2.0]
    assert len([each for each in drawn.iter() if each.get("class") == "bar"]) == 2


def test_what_is_estimated_says_so():
    drawn = activity([Minute(NOON, 12_345, 0, estimated=True)], lambda _: "/")
    assert drawn.count("about 12\N{NARROW NO-BREAK SPACE}345 runs") == 2


def test_durations_are_drawn_from_the_median_to_the_95th_percentile():
    drawn = parsed(spread([Minute(NOON, 9, 0, 0.02, 4.0), Minute(NOON + 60), Minute(NOON + 120, 1, 0, 0.0, 0.0)]))
    assert [each.text for each in drawn.iter("title")] == [
        "12:00: half within 20 ms, 95 % within 4.0 s",
        "12:02: half within <1 ms, 95 % within <1 ms",
    ]
    (line, _) = [each for each in drawn.iter() if each.get("class") == "range"]
    assert float(line.get("y2") or 0) < float(line.get("y1") or 0)


def test_a_scale_of_durations_has_labels_also_where_all_take_the_same_time():
    drawn = parsed(spread([Minute(NOON, 9, 0, 0.3, 0.3)]))
    labels = [each.text for each in drawn.iter() if each.get("text-anchor") == "end"]
    assert labels == ["200 ms", "500 ms"]


# States


def test_each_state_has_a_shape_and_a_word_of_its_own():
    shapes = list(parsed(sprite()).iter("symbol"))
    assert {each.get("id") for each in shapes} == {f"s-{name.value}" for name in State}
    assert len({b"".join(map(ET.tostring, each)) for each in shapes}) == 7
    words = {"".join(parsed(state(name)).itertext()) for name in State}
    assert words == {"Succeeded", "Failed", "Timed out", "Cancelled", "Interrupted", "Running", "Waiting"}
    for name in State:
        assert f'href="#s-{name.value}"' in state(name)


def test_text_from_records_is_escaped():
    evil = '"><script>alert(1)</script>'
    drawn = lane(Axis.of([0, 1]), [Attempt(0, 1, evil)])
    assert "<script" not in drawn
    assert "<script" not in activity([Minute(NOON, 1)], lambda _: evil)


@table("first", range(15))
def test_no_time_of_the_day_is_written_beyond_the_end_of_a_plot(first: int):
    hour = [Minute(NOON + 60 * (first + number), 1, 0, 0.1, 0.2, False) for number in range(60)]
    for picture in (activity(hour, lambda _: "/"), spread(hour)):
        ticks = re.findall(r'<text class="tick" x="([0-9.]+)%" y="[0-9]+"( text-anchor="end")?>[0-9]+:', picture)
        assert len(ticks) == 4
        for x, anchor in ticks:
            assert float(x) <= (100 if anchor else 88)
