"""How many threads a workflow gets at once: more while the event loop is on time, fewer when it is late."""

from hypothesis import given
from hypothesis import strategies as st

from postern.runs.pace import FIRST, FORGOTTEN_AFTER, LATE, Pace

ON_TIME = 0.001


def test_a_workflow_whose_threads_wait_soon_has_its_whole_share():
    pace = Pace(40)
    looks = 0
    while pace.limit("waits") < 40:
        assert pace.look(ON_TIME, {"waits": 3}, {"waits": 77}) == ""
        looks += 1
    assert (looks, pace.limit("another")) == (4, FIRST)


def test_a_workflow_that_needs_no_more_threads_gets_none():
    pace = Pace(40)
    pace.look(ON_TIME, {"few": 2}, {})
    assert (pace.limit("few"), pace.has_limits) == (FIRST, False)


def test_the_workflow_that_holds_most_threads_has_fewer_when_the_loop_is_late():
    pace = Pace(40)
    while pace.limit("computes") < 40:
        pace.look(ON_TIME, {"computes": 3}, {"computes": 77})
    assert pace.look(2 * LATE, {"computes": 30, "quick": 1}, {"computes": 50}) == "computes"
    assert (pace.limit("computes"), pace.limit("quick")) == (15, FIRST)
    pace.look(20.0, {"computes": 15, "quick": 1}, {"computes": 50})
    assert pace.limit("computes") == 1


def test_a_loop_that_is_late_for_another_reason_slows_no_workflow_with_one_thread():
    pace = Pace(40)
    assert pace.look(20.0, {"quick": 1}, {"quick": 1}) == ""
    assert pace.look(20.0, {}, {}) == ""
    assert pace.limit("quick") == FIRST


def test_an_idle_workflow_begins_again_as_if_it_were_new():
    pace = Pace(40)
    pace.look(20.0, {"computes": 4}, {})
    for _ in range(FORGOTTEN_AFTER):
        assert pace.has_limits
        pace.look(ON_TIME, {}, {})
    assert (pace.limit("computes"), pace.has_limits) == (FIRST, False)


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 100), st.dictionaries(st.sampled_from("ab"), st.integers(1, 40))), max_size=20),
)
def test_a_limit_is_always_between_one_thread_and_the_share(share: int, looks: list[tuple[float, dict[str, int]]]):
    pace = Pace(share)
    for late, busy in looks:
        pace.look(late, busy, busy)
        assert all(1 <= pace.limit(name) <= share for name in "abc")
