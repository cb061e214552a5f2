"""After which step a server process ends, and which steps may not run again."""

from postern.testing.crash_plan import CrashPlan
from postern.testing.failing import KitFailure


def plan() -> tuple[CrashPlan, list[KitFailure]]:
    failures: list[KitFailure] = []
    return CrashPlan(failures.append), failures


def test_nothing_goes_on_after_the_step():
    crash, failures = plan()
    crash.plan("pay")
    assert crash.kept("run", "order", ran=True)
    assert not crash.kept("run", "pay", ran=True)
    assert not crash.kept("another", "order", ran=True)
    assert crash.happened.is_set()
    assert failures == []


def test_steps_from_their_checkpoints_are_no_repetition():
    crash, failures = plan()
    crash.plan("pay")
    crash.kept("run", "order", ran=True)
    crash.kept("run", "pay", ran=True)
    crash.begin_again()
    assert [crash.kept("run", *step) for step in (("order", False), ("pay", False), ("send", True))] == [True] * 3
    assert failures == []


def test_a_step_that_was_done_and_runs_again_fails_the_test():
    crash, failures = plan()
    crash.plan("pay")
    crash.kept("run", "pay", ran=True)
    crash.begin_again()
    crash.kept("run", "pay", ran=True)
    assert [str(each) for each in failures] == ["The step pay was done before the crash, and ran again after it."]


def test_two_steps_of_one_name_are_two():
    crash, failures = plan()
    assert all(crash.kept("run", "order", ran=True) for _ in range(3))
    assert failures == []
