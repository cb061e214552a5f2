"""Counting requests with bounded labels."""

from postern import Request, anonymous, workflow
from postern.access import ANYONE
from postern.journal.run import Outcome, Run, State
from postern.triggers.request_counts import RequestCounts


def test_requests_are_counted_by_workflow_mode_and_outcome():
    counts = RequestCounts(lambda: {"a", "b"})
    counts.count("a", "anonymous", "succeeded")
    counts.count("a", "anonymous", "succeeded")
    counts.count("a", "anonymous", "failed")
    counts.count("b", "tenant_users", "unauthenticated")
    counts.count("", "", "unknown-trigger")
    assert counts.totals() == {
        ("a", "anonymous", "succeeded"): 2,
        ("a", "anonymous", "failed"): 1,
        ("b", "tenant_users", "unauthenticated"): 1,
        ("", "", "unknown-trigger"): 1,
    }


def test_runs_are_counted_with_their_durations():
    @workflow(access=anonymous())
    async def a(ctx): ...

    counts = RequestCounts(lambda: {"a"})
    for seconds in (0.5, 1.5):
        run = Run("1", a, ANYONE, Request("POST", "/"), 100.0)
        run.outcome, run.ended_at = Outcome(State.SUCCEEDED, 200, b""), 100.0 + seconds
        counts.ran(run)
    counts.settle()
    assert counts.totals() == {("a", "anonymous", "succeeded"): 2}
    assert {name: (found.count, found.total) for name, found in counts.durations().items()} == {"a": (2, 2.0)}


def test_what_is_not_known_beforehand_gets_no_label_of_its_own():
    counts = RequestCounts(lambda: {"a"})
    for n in range(100):
        counts.count(f"no-{n}", f"mode-{n}", f"outcome-{n}")
        counts.count("a", "anonymous", f"author's-{n}")
    assert counts.totals() == {("", "", "other"): 100, ("a", "anonymous", "other"): 100}


def test_more_workflows_than_the_most_are_counted_under_no_name_until_others_leave_the_catalog():
    served = {f"w{n}" for n in range(5)}
    counts = RequestCounts(lambda: served, most=3)
    for n in range(5):
        counts.count(f"w{n}", "anonymous", "succeeded")
    assert set(counts.durations()) == {"w0", "w1", "w2", ""}
    assert counts.totals()["", "anonymous", "succeeded"] == 2
    assert counts.label("w4") == ""
    served -= {"w0", "w1"}
    counts.count("w3", "anonymous", "failed")
    counts.count("w4", "anonymous", "succeeded")
    assert set(counts.durations()) == {"w2", "", "w3"}


def test_a_thousand_generations_of_names_leave_no_more_than_the_most():
    served: set[str] = set()
    counts = RequestCounts(lambda: served, most=10)
    for n in range(1000):
        served.clear()
        served.add(f"w{n}")
        counts.count(f"w{n}", "anonymous", "succeeded")
    assert len(counts.durations()) <= 10
    assert len(counts.totals()) <= 10
