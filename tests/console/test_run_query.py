"""The form of filters: from what a person types to what the run API takes."""

from urllib.parse import parse_qsl, urlencode

from hypothesis import given
from hypothesis import strategies as st

from postern.api.list_query import pairs_of, run_page_of
from postern.console.run_query import LABELS, exact_time, run_query
from postern.errors import Problem
from tests.api.records import ADA, HERE
from tests.journal.recorded import NOON
from tests.table import table


@table(
    ("text", "exact"),
    [
        ("90s", "2026-01-01T11:58:30Z"),
        ("15m", "2026-01-01T11:45:00Z"),
        ("2h", "2026-01-01T10:00:00Z"),
        ("3d", "2025-12-29T12:00:00Z"),
        ("999999d", "1970-01-01T00:00:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31 12:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:30", "2026-01-31T12:00:30Z"),
        ("2026-01-31T12:00:30.25Z", "2026-01-31T12:00:30.25Z"),
        ("2026-01-31T12:00:30+02:00", "2026-01-31T12:00:30+02:00"),
        ("yesterday", "yesterday"),
        ("2w", "2w"),
        ("\u0662h", "\u0662h"),
    ],
)
def test_times_are_typed_as_people_write_them(text: str, exact: str):
    assert exact_time(text, NOON) == exact


def test_what_is_wrong_with_a_time_is_said_in_the_words_of_the_form():
    errors = run_query(b"since=yesterday&until=2026-13-01", None, NOON).errors
    assert set(errors) == {"since", "until"}
    assert all("2h or 3d" in text for text in errors.values())
    assert run_query(b"since=2026-01-02&until=2026-01-01", None, NOON).errors == {"since": "is later than until"}


NAMES = st.sampled_from([*LABELS, "cursor", "limit", "other"])
TEXTS = st.sampled_from(["", " ", "a", "Failed", "2h", ADA, "\u00e9", "x" * 201, "2026-01-31", "&=", "%"]) | st.text()


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=6), st.sampled_from([None, (HERE, ADA)]))
def test_a_form_has_a_page_or_says_what_is_wrong(pairs: list[tuple[str, str]], owner: tuple[str, str] | None):
    """A page of the form is one of the run API, for the same owner. Every filter can be dropped."""
    found = run_query(urlencode(pairs, errors="replace").encode(), owner, NOON)
    assert (found.page is None) == bool(found.errors)
    if found.page is None:
        return
    assert found.page.filter.owner == owner
    assert run_page_of(pairs_of(found.exact_link.encode()), owner).filter == found.page.filter
    chips = list(found.chips())
    for chip in chips:
        left = run_query(chip.link.removeprefix("?").encode(), owner, NOON)
        assert left.page is not None
        assert chip.name not in left.typed
        assert found.without(chip.name).filter == left.page.filter
    assert {name for name, _ in parse_qsl(found.link().removeprefix("?"))} == {chip.name for chip in chips}


@given(st.binary(max_size=40))
def test_any_query_is_answered(query: bytes):
    found = run_query(query, None, NOON)
    try:
        run_page_of(pairs_of(query), None)
    except Problem:
        return
    assert found.page is not None or found.errors
