"""The lanes of a run's timeline: calls and requests by a gateway."""

from typing import Any

from postern.console.lanes import of_call
from postern.journal.reading.records import CallRecord
from tests.table import table


def call(**values: Any) -> CallRecord:
    given: dict[str, Any] = {"number": 1, "step": None, "name": "erp", "run_id": None, "url": None, "status": 200}
    given |= {"started_at": 1.0, "ended_at": 2.0, "error": None, "guarded": True}
    return CallRecord(**given | values)


@table(
    ("record", "name", "note", "failed"),
    [
        (call(), "↗ erp", "answered 200", False),
        (call(gateway="madrid", agent="madrid-1"), "↗ erp", "answered 200, by madrid, madrid-1", False),
        (call(gateway="madrid", status=None, error="NotOpened"), "↗ erp", "NotOpened, by madrid", True),
        (
            call(gateway="madrid", agent="<b>", url="https://x.example"),
            "↗ erp",
            "answered 200, at https://x.example, by madrid, <b>",
            False,
        ),
        (call(gateway="madrid", status=None, requests=37), "↗ 37 further requests", "by madrid", False),
    ],
)
def test_a_lane_says_by_which_gateway_and_agent(record: CallRecord, name: str, note: str, failed: bool):
    lane = of_call(record, 0, set())
    assert (lane.name, lane.note, lane.failed) == (name, note, failed)
