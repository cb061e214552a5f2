"""Shares of the threads: whatever one workflow or one caller takes, there is room for the next one."""

from hypothesis import given
from hypothesis import strategies as st

from postern.runs.shares import Shares, Turns


def fill(shares: Shares, workflow: str, caller: str) -> int:
    """Take all that the caller gets."""
    taken = 0
    while shares.fits(workflow, caller):
        shares.take(workflow, caller)
        taken += 1
    return taken


def test_the_numbers_of_the_page():
    shares = Shares(40, 200)
    assert fill(shares, "slow", "a") == 30
    assert fill(shares, "slow", "b") == 8
    assert shares.holder() == ("slow", "a", 30)


def test_a_workflow_takes_at_most_its_share_whoever_calls_it():
    shares = Shares(40, 200)
    assert sum(fill(shares, "slow", str(caller)) for caller in range(100)) == 40


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8))
def test_one_caller_never_takes_the_last_thread_of_a_workflow(workflows: list[str]):
    shares = Shares(40, 200)
    for workflow in workflows:
        fill(shares, workflow, "greedy")
    assert all(shares.fits(workflow, "another") for workflow in "abcd")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_some_workflows_never_take_the_threads_of_all(workflows: list[int]):
    """Up to seven slow workflows, with any number of callers, leave a thread for an eighth."""
    shares = Shares(40, 200)
    for slow in {number % 7 for number in workflows}:
        for caller in workflows:
            fill(shares, str(slow), str(caller))
    assert shares.fits("another", "another")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=40))
def test_all_that_is_given_back_is_there_again(taken: list[tuple[str, str]]):
    shares = Shares(4, 8)
    held = []
    for each in taken:
        if shares.fits(*each):
            shares.take(*each)
            held.append(each)
    for each in held:
        shares.give_back(*each)
    assert (shares.of_all, dict(shares.of_workflow), shares.holder()) == (0, {}, ("", "", 0))
    assert fill(shares, "a", "x") == 3


def test_waiting_workflows_have_turns_and_so_have_the_callers_of_one():
    shares, turns = Shares(40, 200), Turns()
    for caller, calls in (("many", 4), ("few", 1)):
        for _ in range(calls):
            turns.add("slow", caller)
    turns.add("other", "few")
    order = [turns.next(shares) for _ in range(6)]
    assert [found[:2] for found in order if found] == [
        ("slow", "many"),
        ("other", "few"),
        ("slow", "few"),
        ("slow", "many"),
        ("slow", "many"),
        ("slow", "many"),
    ]
    assert (turns.next(shares), dict(turns.of_workflow)) == (None, {})


def test_who_waits_no_longer_has_no_turn():
    shares, turns = Shares(40, 200), Turns()
    first, second = turns.add("a", "x"), turns.add("a", "x")
    turns.remove("a", "x", first)
    assert turns.next(shares) == ("a", "x", second)
    assert turns.next(shares) is None
