"""Ids are UUIDs of version 7: ordered by time, also within a millisecond, and different in each."""

import time
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postern import ids
from postern.ids import id_at, is_id, new_id, time_of

NOW = 1_700_000_000_000_000_000  # in nanoseconds


def at(monkeypatch: pytest.MonkeyPatch, moment: int) -> str:
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    return new_id()


def test_an_id_is_a_uuid_of_version_7_of_its_time():
    before = time.time()
    made = UUID(new_id())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before - 0.001 <= time_of(str(made)) <= time.time()


@example(0, 245)
@given(st.integers(0, 2**47 * 1_000_000), st.integers(245, 10**12))
def test_a_later_id_is_greater_also_within_one_millisecond(moment: int, later: int):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ids, "_ids", ids._Ids())  # as in a new process
        first, second = at(monkeypatch, moment), at(monkeypatch, moment + later)
    assert is_id(first)
    assert is_id(second)
    assert id_at(moment // 1_000_000 / 1000) <= first < second


def test_ids_of_one_moment_differ(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ids, "_ids", ids._Ids())
    made = {at(monkeypatch, NOW) for _ in range(1000)}
    assert len(made) == 1000
    assert len({each[:18] for each in made}) == 1
    random_digits = zip(*(each.replace("-", "")[16:] for each in made), strict=True)
    assert all(len(set(digits)) == (4 if place == 0 else 16) for place, digits in enumerate(random_digits))
