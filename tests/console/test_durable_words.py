"""A durable run in words: what it waits for, and what makes it go on."""

import pytest

from postern.console.durable_needs import of_approvals, of_late, of_old_approvals, of_parked
from postern.console.durable_words import PARKED, goes_on_words, parked_words, reason_words, waits_words
from postern.console.run_words import sentence
from postern.console.waiting_approvals import Waiting
from postern.journal.durable_runs import Phase, Reason
from postern.journal.reading.durable_attention import Late, OldApprovals, ParkedRuns
from postern.journal.reading.records import DurableState
from postern.journal.run import State
from tests.api.records import record
from tests.journal.recorded import NOON, id_number
from tests.table import table

OVERRIDE = "\N{RIGHT-TO-LEFT OVERRIDE}"


def state(phase: Phase, reason: str = "", name: str = "", until: float | None = None, attempt: int = 1) -> DurableState:
    return DurableState(phase, reason or None, name or None, until, attempt, 0)


@table(
    ("of", "said", "goes_on"),
    [
        (state(Phase.READY, attempt=0), "Waiting for its turn", "as soon as a server process has a free place"),
        (state(Phase.READY, attempt=2), "Waiting to go on", "as soon as a server process has a free place"),
        (state(Phase.RUNNING), "", ""),
        (state(Phase.ENDED), "", ""),
        (state(Phase.WAITING, Reason.SLEEP, until=NOON + 90), "Sleeping until 1 Jan 2026 12:01:30 UTC", "at that time"),
        (state(Phase.WAITING, Reason.SLEEP, until=NOON), "Waiting to go on", "a free place"),
        (state(Phase.WAITING, Reason.SIGNAL, "paid"), "Waiting for the signal paid", "when the signal arrives."),
        (
            state(Phase.WAITING, Reason.SIGNAL, "paid", NOON + 90),
            "Waiting for the signal paid until 1 Jan 2026 12:01:30 UTC",
            "It also goes on when the time is over.",
        ),
        (
            state(Phase.WAITING, Reason.APPROVAL, f"a{OVERRIDE}b"),
            "Waiting for the approval a\\u202eb",
            "when a person has decided.",
        ),
        (
            state(Phase.PARKED, Reason.MISSING),
            "Parked: its workflow is not served",
            "when the workflow book is there again",
        ),
        (
            state(Phase.PARKED, Reason.CHANGED),
            "Parked: the code of its workflow has changed",
            "An operator can also resume it from the start",
        ),
        (state(Phase.PARKED, Reason.KEY), "Parked: the key of its bodies cannot be read", "POSTERN_DURABLE_KEY_NAME"),
        (state(Phase.PARKED, f"odd{OVERRIDE}"), "Parked: odd\\u202e", "when the reason is gone"),
    ],
)
def test_a_durable_run_says_what_it_waits_for_and_what_makes_it_go_on(of: DurableState, said: str, goes_on: str):
    assert waits_words(of, NOON) == said
    assert goes_on in goes_on_words(of, "book", NOON)
    assert bool(goes_on_words(of, "book", NOON)) is bool(said)
    shown = record(state=State.WAITING, ended_at=None, durable=of)
    assert sentence(shown, "", NOON) == (said or "Waiting for its turn")


def test_every_reason_to_park_a_run_has_words():
    waits = {Reason.SLEEP, Reason.SIGNAL, Reason.APPROVAL, Reason.CONCURRENCY}
    for reason in set(Reason) - waits:
        assert parked_words(reason) != parked_words("unknown")._replace(why=reason.value), reason
        assert "{}" not in goes_on_words(state(Phase.PARKED, reason), "book", NOON)


def test_a_row_of_a_list_does_not_repeat_the_state():
    assert reason_words(state(Phase.WAITING, Reason.SIGNAL, "paid"), NOON) == "for the signal paid"
    assert reason_words(state(Phase.PARKED, Reason.MISSING), NOON) == "parked: its workflow is not served"


def test_the_home_page_says_what_needs_a_person_about_durable_runs():
    group = ParkedRuns("book", Reason.MISSING, 3, id_number(1), more=False)
    [parked] = of_parked([group], operator=True)
    assert parked.what == "book: 3 runs are parked, because its workflow is not served"
    assert (parked.path, parked.other) == (f"/runs/{id_number(1)}", ("All parked runs", "/runs/parked"))
    assert of_parked([group], operator=False)[0].other is None
    [late] = of_late([Late("book", 1, id_number(7), more=True)])
    assert late.what == "book: 1 or more run waits for more than 5 minutes to begin"
    assert late.at == NOON + 7
    [old] = of_old_approvals(OldApprovals(2, NOON, more=False))
    assert (old.what, old.urgent) == ("2 approvals have waited for more than 7 days", False)
    assert of_old_approvals(None) == of_late([]) == of_parked([], operator=True) == []


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (None, []),
        (Waiting(0, more=True, since=None), []),
        (Waiting(1, more=False, since=NOON), ["1 approval waits for you"]),
        (Waiting(2, more=True, since=NOON), ["2 or more approvals wait for you"]),
    ],
)
def test_a_person_is_told_how_many_approvals_wait(waiting: Waiting | None, said: list[str]):
    assert [need.what for need in of_approvals(waiting)] == said


def test_each_reason_to_be_parked_has_its_words():
    assert set(PARKED) == set(Reason) - {Reason.SLEEP, Reason.SIGNAL, Reason.APPROVAL, Reason.CONCURRENCY}
    for restored in (Reason.RESTORED, Reason.LOST, Reason.INTERNAL):
        assert "An operator can" in goes_on_words(state(Phase.PARKED, restored), "pay", NOON)
