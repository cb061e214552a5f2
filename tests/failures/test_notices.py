"""Which failures one run hears of, and what it is told."""

import json

import pytest

from postern.failures.notices import BURST, SECONDS_PER_NOTICE, Room, grouped, notice
from postern.journal.failure_notices import Failure


def failure(number: int = 1, message: str = "no such table") -> Failure:
    return Failure(
        f"run-{number}", "nightly", "Failed", "ValueError", message, 1_700_000_000.0, 1_700_000_002.5, "user", ""
    )


@pytest.mark.parametrize(
    ("waiting", "room", "sizes"),
    [
        (0, 10, []),
        (1, 10, [1]),
        (3, 10, [1, 1, 1]),
        (10, 10, [1] * 10),
        (11, 10, [1] * 9 + [2]),
        (1000, 10, [1] * 9 + [991]),
        (1000, 1, [1000]),
        (5, 0, []),
    ],
)
def test_each_failure_has_a_run_while_there_is_room_and_the_rest_has_one(waiting: int, room: int, sizes: list[int]):
    failures = [failure(number) for number in range(waiting)]
    found = grouped(failures, room)
    assert [len(each) for each in found] == sizes
    assert [each for group in found for each in group] == (failures if sizes else [])


def test_there_is_room_for_a_burst_and_for_one_more_each_minute():
    room = Room()
    assert room.at_most(1000.0) == BURST
    room.left -= BURST
    assert room.at_most(1000.0 + SECONDS_PER_NOTICE / 2) == 0
    assert room.at_most(1000.0 + SECONDS_PER_NOTICE) == 1
    assert room.at_most(0.0) == 1  # the clock was set back
    assert room.at_most(1e9) == BURST


def test_a_run_is_told_what_failed_and_of_a_secured_one_the_type_alone():
    assert json.loads(notice(failure(), 3, secured=False)) == {
        "run_id": "run-1",
        "workflow": "nightly",
        "state": "Failed",
        "error": {"type": "ValueError", "message": "no such table"},
        "started_at": "2023-11-14T22:13:20.000Z",
        "ended_at": "2023-11-14T22:13:22.500Z",
        "more_failures": 3,
    }
    assert json.loads(notice(failure(), 0, secured=True))["error"] == {"type": "ValueError", "message": None}
    assert json.loads(notice(failure(message=""), 0, secured=False))["error"]["message"] is None
