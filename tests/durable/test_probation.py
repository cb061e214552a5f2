"""Suspects run one at a time."""

from postern.durable.probation import SECONDS, Probation
from postern.journal.durable_runs import SUSPECT


def test_the_next_suspect_waits_until_one_has_ended_or_goes_on_for_long():
    probation = Probation()
    probation.took("1", SUSPECT - 1, 0.0)
    assert probation.may_take(0.0)
    probation.took("2", SUSPECT, 0.0)
    assert not probation.may_take(SECONDS - 1)
    assert probation.may_take(SECONDS)
    assert not probation.ended("1")
    assert probation.ended("2")
    assert probation.may_take(0.0)
