"""Counting requests with bounded labels."""

from app.triggers.counts import RequestCounts


def test_requests_are_counted_by_workflow_mode_and_outcome():
    counts = RequestCounts(lambda: {"a", "b"})
    counts.count("a", "anonymous", "succeeded", 0.5)
    counts.count("a", "anonymous", "succeeded", 0.5)
    counts.count("a", "anonymous", "failed", 1.0)
    counts.count("b", "tenant_users", "unauthenticated", 0.1)
    counts.count("", "", "unknown-trigger", 0.1)
    assert counts.totals() == {
        ("a", "anonymous", "succeeded"): 2,
        ("a", "anonymous", "failed"): 1,
        ("b", "tenant_users", "unauthenticated"): 1,
        ("", "", "unknown-trigger"): 1,
    }
    assert {name: (found.count, found.total) for name, found in counts.durations().items()} == {
        "a": (3, 2.0),
        "b": (1, 0.1),
        "": (1, 0.1),
    }


def test_what_is_not_known_beforehand_gets_no_label_of_its_own():
    counts = RequestCounts(lambda: {"a"})
    for n in range(100):
        counts.count(f"no-{n}", f"mode-{n}", f"outcome-{n}", 0.1)
        counts.count("a", "anonymous", f"author's-{n}", 0.1)
    assert counts.totals() == {("", "", "other"): 100, ("a", "anonymous", "other"): 100}


def test_more_workflows_than_the_most_are_counted_under_no_name_until_others_leave_the_catalog():
    served = {f"w{n}" for n in range(5)}
    counts = RequestCounts(lambda: served, most=3)
    for n in range(5):
        counts.count(f"w{n}", "anonymous", "succeeded", 0.1)
    assert set(counts.durations()) == {"w0", "w1", "w2", ""}
    assert counts.totals()["", "anonymous", "succeeded"] == 2
    assert counts.label("w4") == ""
    served -= {"w0", "w1"}
    counts.count("w3", "anonymous", "failed", 0.1)
    counts.count("w4", "anonymous", "succeeded", 0.1)
    assert set(counts.durations()) == {"w2", "", "w3"}


def test_a_thousand_generations_of_names_leave_no_more_than_the_most():
    served: set[str] = set()
    counts = RequestCounts(lambda: served, most=10)
    for n in range(1000):
        served.clear()
        served.add(f"w{n}")
        counts.count(f"w{n}", "anonymous", "succeeded", 0.1)
    assert len(counts.durations()) <= 10
    assert len(counts.totals()) <= 10
