"""Which row a refusal counts in: nothing is lost, and nothing grows without bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.access import Check
from postern.journal.refusal import Refusal, as_text
from postern.journal.refusal_windows import (
    MANY,
    MOST_HELD,
    MOST_IDS,
    MOST_NEW,
    OTHER,
    WINDOW_SECONDS,
    Window,
    Windows,
)
from tests.examples import example_count

pytestmark = pytest.mark.slow

REASONS = ("expiry", "signature", "unknown-trigger")


def refusal(number: int = 0, reason: str = "expiry", address: str = "192.0.2.1", workflow: str = "pay") -> Refusal:
    return Refusal(f"r{number}", reason, "unauthenticated", 401, workflow, address, (Check(reason, False),))


def address(number: int) -> str:
    return f"2001:db8::{number:x}"


def flood(windows: Windows, count: int, now: float = 0.0, start: int = 0) -> list[Window]:
    """Refusals from as many addresses: the windows that began."""
    found = [windows.take(refusal(n, address=address(n)), now, now) for n in range(start, start + count)]
    return [window for window in found if window is not None]


def write_all(windows: Windows, now: float) -> None:
    windows.take_unlogged(now)
    windows.take_unreported()
    for window in windows.changed():
        window.changed = False
    windows.forget(now)


def test_refusals_of_one_reason_address_and_workflow_share_a_window_of_ten_seconds():
    windows = Windows()
    first = windows.take(refusal(1), 0, 1000)
    assert first is not None
    assert windows.take(refusal(2), 9.9, 1009.9) is None
    assert (first.count, first.first_at, first.last_at, first.request_ids) == (2, 1000, 1009.9, ["r1", "r2"])
    assert windows.take(refusal(3), WINDOW_SECONDS, 1010) is not None
    assert first.count == 2


def test_another_reason_address_or_workflow_is_another_window():
    windows = Windows()
    others = [refusal(), refusal(reason="signature"), refusal(address="192.0.2.2"), refusal(workflow="hello")]
    assert all(windows.take(other, 0, 0) for other in others)
    assert len(windows) == 4


def test_only_the_first_request_ids_are_kept():
    windows = Windows()
    first, *_ = [windows.take(refusal(n), 0, 0) for n in range(200)]
    assert first is not None
    assert first.count == 200
    assert first.request_ids == [f"r{n}" for n in range(MOST_IDS)]


def test_beyond_the_rate_refusals_share_a_row_for_each_reason_and_workflow():
    windows = Windows()
    begun = flood(windows, 1000)
    assert len(begun) < MOST_NEW
    assert [window.client_address for window in begun].count(MANY) == 1
    assert begun[-1].workflow == "pay"
    assert sum(window.count for window in begun) == 1000
    assert windows.take(refusal(workflow="hello"), 1, 1) is not None  # another workflow still has a row of its own


def test_beyond_that_all_of_one_reason_share_a_row():
    windows = Windows()
    begun = [windows.take(refusal(n, workflow=f"w{n}"), 0, 0) for n in range(1000)]
    rows = [window for window in begun if window is not None]
    assert len(rows) == MOST_NEW + 1
    assert (rows[-1].client_address, rows[-1].workflow) == (MANY, MANY)
    assert sum(window.count for window in rows) == 1000


def test_what_cannot_be_written_for_long_stays_in_bounded_memory_and_counts_on():
    windows = Windows()
    begun = []
    for round_ in range(60):  # a new flood every ten seconds, and nothing is ever written
        now = round_ * WINDOW_SECONDS
        begun += flood(windows, 200, now, start=round_ * 200)
        windows.take_unlogged(now)
        windows.forget(now)
    assert len(windows) <= MOST_HELD + 1
    assert sum(window.count for window in begun) == 60 * 200
    write_all(windows, 60 * WINDOW_SECONDS)
    assert len(windows) == 0


def test_a_window_is_dropped_only_when_it_is_over_and_logged_and_written_and_examined():
    windows = Windows()
    window = windows.take(refusal(), 0, 0)
    assert window is not None
    windows.take(refusal(), 0, 0)
    window.changed = window.examined = False
    windows.take_unlogged(5)
    windows.forget(WINDOW_SECONDS)
    assert len(windows) == 1
    assert windows.take_unlogged(WINDOW_SECONDS) == [(window, 1)]
    windows.forget(WINDOW_SECONDS)
    assert len(windows) == 1
    assert windows.take_unreported() == []
    window.examined = True
    windows.forget(WINDOW_SECONDS)
    assert len(windows) == 1
    assert windows.take_unreported() == [(window, 2)]
    windows.forget(WINDOW_SECONDS)
    assert len(windows) == 0


def test_what_was_added_to_a_window_is_reported_once():
    windows = Windows()
    window = windows.take(refusal(1), 0, 1)
    assert window is not None
    assert windows.take_unreported() == [(window, 1)]
    assert windows.take_unreported() == []
    assert windows.take(refusal(2), 0, 5) is None
    assert windows.take(refusal(3), 0, 6) is None
    assert windows.take_unreported() == [(window, 2)]
    assert windows.take(refusal(4), 0, 9) is None
    assert windows.take_unreported() == [(window, 1)]
    assert (window.first_at, window.since, window.last_at) == (1, 6, 9)


def test_at_the_end_windows_that_wait_to_be_examined_are_reported_too():
    windows = Windows()
    window = windows.take(refusal(1), 0, 0)
    assert window is not None
    window.examined = False
    assert windows.take_unreported() == []
    assert windows.take_unreported(all_of_them=True) == [(window, 1)]


def test_an_address_that_is_none_is_not_kept():
    windows = Windows()
    strange = windows.take(refusal(address="eyJhbGciOiJub25lIn0.e30."), 0, 0)
    assert strange is not None
    assert strange.client_address == OTHER
    local = windows.take(refusal(address="fe80::1%eth0"), 0, 0)
    assert local is not None
    assert local.client_address == "fe80::1%eth0"


def test_texts_of_checks_are_short_and_sorted():
    assert as_text(None) == ""
    assert as_text(frozenset({"b", "a"})) == "['a', 'b']"
    assert len(as_text("x" * 1000)) == 300


bursts = st.lists(
    st.tuples(
        st.sampled_from(REASONS),
        st.sampled_from(["pay", "hello", ""]) | st.integers(0, 50).map(str),
        st.integers(0, 5000),  # the first address
        st.integers(1, 150),  # how many addresses
        st.sampled_from([0.0, 0.01, 1.0, 9.99, 10.0, 25.0]),  # seconds that pass
        st.sampled_from(["nothing", "fails", "is written"]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=example_count(60))
@given(bursts)
def test_whatever_comes_no_count_is_lost_and_rows_memory_and_lines_are_bounded(given_bursts):
    windows, now, taken, logged = Windows(), 100.0, 0, 0
    begun: list[tuple[float, Window]] = []
    for reason, workflow, start, count, seconds, end in given_bursts:
        for number in range(start, start + count):
            window = windows.take(refusal(number, reason, address(number), workflow), now, now)
            begun += [(now, window)] if window is not None else []
            taken += 1
        assert len(windows) <= MOST_HELD + len(REASONS)
        now += seconds
        if end != "nothing":
            logged += sum(more for _, more in windows.take_unlogged(now))
        if end == "is written":
            write_all(windows, now)
    logged += sum(more for _, more in windows.take_unlogged())
    assert sum(window.count for _, window in begun) == taken == logged + len(begun)
    assert len({id(window) for _, window in begun}) == len(begun)
    for moment, _ in begun:
        within = sum(moment <= other < moment + WINDOW_SECONDS for other, _ in begun)
        assert within <= MOST_NEW + len(REASONS)
