"""The delay of responses in a flood of rejected requests: the decision, and its effect in the pipeline."""

from collections.abc import MutableMapping
from math import inf
from typing import Any

import pytest
import structlog

from postern.errors import Problem, problem
from postern.triggers.gate import Gate
from postern.triggers.pipeline import Pipeline
from postern.triggers.refusal_throttle import LONGEST, QUICK_IN_ALL, QUICK_OF_ADDRESS, RATE, TOGETHER, RefusalThrottle

FLOODER, PERSON = "192.0.2.1", "198.51.100.7"


def closed_loop(pace: RefusalThrottle, connections: int, seconds: float, start: float = 0.0) -> list[float]:
    """When the answers leave that so many connections of one address get, each of which sends again at once."""
    due = [start] * connections
    left = []
    while (now := min(due)) < start + seconds:
        wait = pace.wait(FLOODER, now)
        assert wait < inf
        index = due.index(now)
        due[index] = now + wait + 0.0001
        left.append(now + wait)
    return left


def test_the_first_refusals_of_an_address_are_answered_at_once():
    pace = RefusalThrottle()
    assert [pace.wait(PERSON, 5.0) for _ in range(QUICK_OF_ADDRESS)] == [0.0] * QUICK_OF_ADDRESS


@pytest.mark.parametrize("connections", [16, 500])
def test_a_flood_is_answered_at_a_bounded_rate(connections: int):
    left = closed_loop(RefusalThrottle(), connections, 5.0)
    assert RATE * 4 < len([at for at in left if at < 5]) <= (RATE + QUICK_OF_ADDRESS) * 5 + 1


def test_beside_a_flood_a_person_is_answered_at_once():
    pace = RefusalThrottle()
    closed_loop(pace, 100, 2.5)
    assert pace.wait(PERSON, 2.5) == 0.0


def test_a_flood_from_many_addresses_is_bounded_too_and_they_are_not_all_remembered():
    pace = RefusalThrottle()
    waits = [pace.wait(f"2001:db8::{number:x}", 7.0) for number in range(RATE)]
    assert waits.count(0.0) <= QUICK_IN_ALL + 1
    assert waits[-1] > (RATE - QUICK_IN_ALL - 1) / RATE - 0.01
    assert len(pace._quick) <= QUICK_IN_ALL


def test_with_too_many_that_wait_no_other_request_does():
    pace = RefusalThrottle()
    waits = [pace.wait(FLOODER, 1.0) for _ in range(2 * RATE * int(LONGEST))]
    waiting = [wait for wait in waits if wait < inf]
    assert max(waiting) <= LONGEST + TOGETHER
    assert RATE * LONGEST <= len(waiting) <= RATE * LONGEST + QUICK_OF_ADDRESS + 1
    assert waits[-1] == inf


def test_long_waits_end_together():
    pace = RefusalThrottle()
    ends = {round(3.0 + pace.wait(FLOODER, 3.0), 6) for _ in range(RATE)}
    assert len(ends) < RATE / 5


def test_after_a_flood_all_is_as_before():
    pace = RefusalThrottle()
    for _ in range(10_000):
        pace.wait(FLOODER, 1.0)
    assert pace.wait(FLOODER, 1.0 + LONGEST + 1) == 0.0


class Stub(RefusalThrottle):
    """Always the same wait."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.seconds = wait

    def wait(self, address: str, now: float) -> float:
        return self.seconds


def limited(*_: Any) -> None:
    raise problem("rate-limited")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wait", "closes", "gate", "status"),
    [
        *((0.0, False, Gate(), 404), (0.001, False, Gate(), 404), (inf, True, Gate(), 404)),
        *((0.0, False, Gate(preflight=limited), 429), (inf, True, Gate(preflight=limited), 429)),
    ],
)
async def test_the_connection_is_closed_where_an_answer_cannot_wait(wait: float, closes: bool, gate: Gate, status: int):
    """Of a request without a trigger, and of one whose rate is used up."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def unused(*_: Any) -> Any:
        raise Problem(500, "not called")

    pipeline = Pipeline(
        triggers=dict,
        recall=lambda *_: None,
        identify=unused,
        start=unused,
        refused=lambda _: False,
        max_body_bytes=0,
        log=structlog.get_logger("test"),
        count=lambda *_: None,
        throttle=Stub(wait),
        gate=gate,
    )
    path = "/triggers/nothing"
    scope = {"method": "OPTIONS", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
    await pipeline(scope, unused, send)
    assert sent[0]["status"] == status
    assert ((b"connection", b"close") in sent[0]["headers"]) is closes
