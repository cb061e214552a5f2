"""The scheduler: each due time starts one run, on SQLite and on PostgreSQL, whatever processes and clocks do."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select
from structlog.testing import capture_logs

from postern import Context, workflow
from postern.access import OPEN, Caller
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.errors import problem
from postern.journal.run import Outcome, Run, State
from postern.journal.schedules import AHEAD
from postern.journal.schema import runs, schedules
from postern.journal.server_processes import interrupt
from postern.runs.idempotency import Key
from postern.runs.server_run import ServerRun
from postern.schedules.due import LATE
from postern.schedules.scheduler import AGAIN_SECONDS, HEADER, LOOK_SECONDS, Scheduler
from tests.journal.engines import empty_journal

pytestmark = pytest.mark.anyio

SEVEN = datetime(2027, 3, 1, 7, tzinfo=UTC).timestamp()
BEFORE = SEVEN - 600
DAY = 86400.0


def scheduled(**options: Any) -> Workflow:
    @workflow(**{"schedule": "0 7 * * *", "name": "report"} | options)
    async def report(ctx: Context) -> None:
        """Report."""

    return report


@dataclass
class Installation:
    """Server processes that share a database, and a clock each."""

    engine: Engine
    served: dict[str, Trigger] = field(default_factory=dict)
    started: list[tuple[str, ServerRun]] = field(default_factory=list)
    keys: dict[str, Run] = field(default_factory=dict)
    refuses: str = ""
    dies: bool = False
    stops: bool = False

    def serve(self, made: Workflow) -> None:
        self.served = {made.name: Trigger(made, OPEN, Path("report.py"))}

    def process(self, node: str = "node-1", at: float = BEFORE) -> "Process":
        return Process(self, node, at)

    def operate(self, operation: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    def record(self) -> dict[str, Any]:
        return dict(self.operate(lambda connection: connection.execute(select(schedules)).mappings().one()))

    def states(self) -> list[tuple[str, str]]:
        rows = self.operate(lambda connection: connection.execute(select(runs.c.id, runs.c.state)).all())
        return [(row.id, row.state) for row in rows]


@dataclass
class Process:
    """One server process, whose clock shows `at`."""

    house: Installation
    node: str
    at: float

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            lambda: self.house.served,
            self.write,
            lambda operation: self.house.operate(operation),
            self.start,
            self.node,
            stopping=lambda: self.house.stops,
            now=lambda: self.at,
        )

    async def write(self, operation: Callable[[Connection], Any]) -> Any:
        await asyncio.sleep(0)
        return self.house.operate(operation)

    async def start(self, run: ServerRun, key: Key | None) -> Run:
        if self.house.dies:
            raise asyncio.CancelledError
        if self.house.refuses:
            raise problem(self.house.refuses)
        record = run.record(self.at)
        if key is not None and self.house.keys.setdefault(key.scope, record) is not record:
            return self.house.keys[key.scope]
        self.house.started.append((self.node, run))
        record.outcome = Outcome(State.SUCCEEDED, 200, b"")
        return record

    async def look(self, at: float) -> None:
        self.at = at
        await self.scheduler.step()
        await self.scheduler.settle()


@pytest.fixture
def house(database_url: str) -> Iterator[Installation]:
    made = Installation(empty_journal(database_url))
    made.serve(scheduled())
    yield made
    made.engine.dispose()


async def test_a_run_starts_at_its_time_and_once(house: Installation):
    one = house.process()
    for at in (BEFORE, SEVEN - 1, SEVEN, SEVEN + 0.5, SEVEN + 30, SEVEN + 3600):
        await one.look(at)
    [(_, run)] = house.started
    assert (run.caller.kind, run.caller.name) == ("schedule", "schedule 0 7 * * * UTC")
    assert run.caller == Caller("schedule", name=run.caller.name)
    assert run.request.headers[HEADER.decode()] == "2027-03-01T07:00:00Z"
    assert (run.request.method, run.request.path, run.request.body) == ("POST", "/triggers/report", b"")
    assert house.record() | {"since": 0} == {
        "workflow": "report",
        "schedule": "0 7 * * * UTC",
        "since": 0,
        "last_due": SEVEN,
        "run_id": run.id,
        "outcome": "started",
    }
    assert one.scheduler.outcomes["started"] == 1


@pytest.mark.parametrize("durable", [False, True])
async def test_of_two_processes_one_starts_the_run(house: Installation, durable: bool):
    house.serve(replace(scheduled(), durable=durable))
    one, two = house.process("node-1"), house.process("node-2")
    await asyncio.gather(one.look(BEFORE), two.look(BEFORE + 5))
    for day in range(3):
        await asyncio.gather(one.look(SEVEN + day * DAY), two.look(SEVEN + day * DAY + 2))
    assert len(house.started) == 3
    assert one.scheduler.outcomes["started"] + two.scheduler.outcomes["started"] == 3


async def test_a_process_that_is_killed_after_its_claim_leaves_an_interrupted_run_and_no_second_one(
    house: Installation,
):
    one, two = house.process("node-1"), house.process("node-2")
    await asyncio.gather(one.look(BEFORE), two.look(BEFORE))
    house.dies = True
    await one.look(SEVEN)
    house.dies = False
    [(run_id, state)] = house.states()
    assert state == "Running"
    house.operate(lambda connection: interrupt(connection, "node-1", SEVEN + 1))
    await two.look(SEVEN + 2)
    assert house.states() == [(run_id, "Interrupted")]
    assert house.started == []


async def test_a_durable_run_whose_process_is_killed_before_its_claim_is_started_by_another(house: Installation):
    house.serve(replace(scheduled(), durable=True))
    one, two = house.process("node-1"), house.process("node-2")
    await asyncio.gather(one.look(BEFORE), two.look(BEFORE))
    house.dies = True
    await one.look(SEVEN)
    house.dies = False
    await two.look(SEVEN + 2)
    assert [node for node, _ in house.started] == ["node-2"]


async def test_a_durable_run_that_was_accepted_by_a_process_that_was_killed_is_not_started_again(house: Installation):
    house.serve(replace(scheduled(), durable=True))
    one, two = house.process("node-1"), house.process("node-2")
    await asyncio.gather(one.look(BEFORE), two.look(BEFORE))
    one.scheduler.write = lost  # type: ignore[assignment]
    await one.look(SEVEN)
    await two.look(SEVEN + 2)
    assert [node for node, _ in house.started] == ["node-1"]
    assert house.record()["run_id"] == house.started[0][1].id


async def lost(_operation: object) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(("missed", "starts"), [("skip", 0), ("once", 1)])
async def test_missed_times_are_skipped_or_start_one_run(house: Installation, missed: str, starts: int):
    house.serve(scheduled(missed=missed))
    await house.process().look(BEFORE)
    later = house.process("node-2")  # after the server was away for three days
    with capture_logs() as logs:
        for seconds in (0, 1, 100):
            await later.look(SEVEN + 3 * DAY + LATE + 1 + seconds)
    assert len(house.started) == starts
    assert later.scheduler.outcomes["missed"] == 1 - starts
    assert [line["event"] for line in logs] == (["schedule-started"] if starts else ["schedule-missed"])
    assert logs[0]["due"] == "2027-03-04T07:00:00Z"


async def test_a_schedule_that_is_new_or_changed_has_no_earlier_times(house: Installation):
    house.serve(scheduled(missed="once"))
    one = house.process()
    await one.look(SEVEN + 60)
    assert house.started == []
    house.serve(scheduled(missed="once", schedule="0 6 * * *"))
    await one.look(SEVEN + 120)
    await one.look(SEVEN + 2 * 3600)
    assert house.started == []
    await one.look(SEVEN + DAY - 3600)
    assert len(house.started) == 1


async def test_an_older_schedule_of_another_process_starts_nothing(house: Installation):
    old = house.process("node-1")
    await old.look(BEFORE)
    mine = house.served
    house.serve(scheduled(schedule="30 7 * * *"))
    await house.process("node-2").look(BEFORE + 60)
    house.served = mine
    await old.look(SEVEN)
    assert house.started == []


async def test_a_clock_that_is_set_back_starts_nothing_again(house: Installation):
    house.serve(scheduled(schedule="*/10 * * * *"))
    one = house.process()
    for at in (BEFORE, SEVEN, SEVEN - 1800, SEVEN - 1200, SEVEN - 600, SEVEN + 1):
        await one.look(at)
    assert len(house.started) == 1
    await one.look(SEVEN + 600)
    assert len(house.started) == 2


async def test_a_clock_that_was_years_ahead_does_not_end_a_schedule(house: Installation):
    one = house.process()
    await one.look(SEVEN + 4000 * DAY - 60)
    await one.look(SEVEN + 4000 * DAY)
    assert len(house.started) == 1
    await one.look(BEFORE)
    await one.look(SEVEN)
    assert len(house.started) == 2
    assert AHEAD < DAY


async def test_a_time_at_which_too_many_runs_run_is_not_started_and_recorded(house: Installation):
    one = house.process()
    await one.look(BEFORE)
    house.refuses = "too-many-runs"
    with capture_logs() as logs:
        await one.look(SEVEN)
    house.refuses = ""
    await one.look(SEVEN + 5)
    assert (house.started, house.states()) == ([], [])
    assert (house.record()["outcome"], house.record()["run_id"]) == ("too-many-runs", None)
    assert one.scheduler.outcomes["not-started"] == 1
    assert [(line["event"], line["reason"]) for line in logs] == [("schedule-not-started", "too-many-runs")]


async def test_a_server_process_that_stops_leaves_the_time_to_another(house: Installation):
    one, two = house.process("node-1"), house.process("node-2")
    await asyncio.gather(one.look(BEFORE), two.look(BEFORE))
    house.refuses = "shutting-down"
    await one.look(SEVEN)
    assert (house.states(), house.record()["last_due"]) == ([], BEFORE)
    house.refuses = ""
    await two.look(SEVEN + 1)
    assert [node for node, _ in house.started] == ["node-2"]
    house.stops = True
    await one.look(SEVEN + DAY)
    assert len(house.started) == 1


async def test_a_time_that_cannot_be_claimed_is_tried_again(house: Installation):
    one = house.process()
    await one.look(BEFORE)
    working, one.scheduler.write = one.scheduler.write, unavailable  # type: ignore[assignment]
    with capture_logs() as logs:
        await one.look(SEVEN)
        await one.look(SEVEN + 1)
    assert [line["event"] for line in logs] == ["schedule-not-started"]
    assert (one.scheduler.next_due(), one.scheduler.wait()) == (SEVEN, AGAIN_SECONDS)
    one.scheduler.write = working
    await one.look(SEVEN + 2)
    assert len(house.started) == 1


async def unavailable(_operation: object) -> None:
    raise problem("journal-unavailable")


async def test_it_waits_for_the_next_due_time_and_looks_at_the_clock_meanwhile(house: Installation):
    one = house.process()
    for _ in range(2):
        assert (one.scheduler.next_due(), one.scheduler.wait()) == (SEVEN, LOOK_SECONDS)
        await one.look(BEFORE)
    one.at = SEVEN - 2
    assert one.scheduler.wait() == pytest.approx(2, abs=0.01)
    house.served = {}
    await one.look(SEVEN)
    assert house.started == []
    assert (one.scheduler.next_due(), one.scheduler.wait()) == (None, LOOK_SECONDS)


async def test_a_stateless_workflow_has_no_record(house: Installation):
    house.serve(scheduled(stateless=True))
    one = house.process()
    await one.look(BEFORE)
    await one.look(SEVEN)
    assert len(house.started) == 1
    assert house.states() == []
