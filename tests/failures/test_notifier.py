"""The notifier: one run hears of each failed run, on SQLite and on PostgreSQL, whatever processes do."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, func, select
from structlog.testing import capture_logs

from postern import Context, workflow
from postern.access import OPEN, Caller, StartedBy
from postern.catalog import Trigger
from postern.errors import problem
from postern.failures.notices import BURST, SECONDS_PER_NOTICE
from postern.failures.notifier import Notifier
from postern.ids import id_at
from postern.journal.failure_notices import AGE, KEPT
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import failure_notices, runs
from postern.journal.server_processes import interrupt
from postern.runs.idempotency import Key
from postern.runs.server_run import ServerRun
from tests.journal.engines import add, empty_journal, run_row

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0


@workflow(on_failure="notify-me")
async def nightly(ctx: Context) -> None:
    """Fail at times."""


@workflow(on_failure="nightly")
async def notify_me(ctx: Context, failure: dict[str, Any]) -> None:
    """Tell a person."""


@workflow(on_failure="notify-me", secure_inputs=True, durable=True)
async def payroll(ctx: Context) -> None:
    """Fail in secret, and last."""


def served() -> dict[str, Trigger]:
    return {each.name: Trigger(each, OPEN, Path("jobs.py")) for each in (nightly, notify_me, payroll)}


@dataclass
class Installation:
    """Server processes that share a database."""

    engine: Engine
    triggers: dict[str, Trigger] = field(default_factory=served)
    now: float = NOW
    started: list[tuple[str, ServerRun]] = field(default_factory=list)
    refuses: str = ""
    late: bool = False
    stops: bool = False

    def process(self, name: str = "one") -> Notifier:
        async def operate(operation: Callable[[Connection], Any]) -> Any:
            await asyncio.sleep(0)
            return self.operate(operation)

        async def write(operation: Callable[[Connection], Any]) -> Any:
            written = await operate(operation)
            for _ in range(10):  # what is committed is known some turns later
                await asyncio.sleep(0)
            return written

        async def start(run: ServerRun, _key: Key | None) -> Run:
            if self.refuses:
                raise problem(self.refuses)
            self.started.append((name, run))
            if self.late:
                raise problem("journal-unavailable", run_id=run.id)
            record = run.record(self.now)
            record.outcome = Outcome(State.SUCCEEDED, 200, b"")
            return record

        return Notifier(lambda: self.triggers, operate, write, start, stopping=lambda: self.stops, now=lambda: self.now)

    def operate(self, operation: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    def fail(self, number: int = 1, state: str = "Failed", at: float | None = None, **more: Any) -> str:
        run_id = id_at((self.now if at is None else at) - 1 + number / 1000)
        ended = {"state": state, "started_at": self.now - 1, "ended_at": self.now, "error_type": "ValueError"}
        row = run_row(run_id, **{"workflow": "nightly"} | ended | {"error_message": "no such table"} | more)
        add(self.engine, runs, row)
        return run_id

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(run.request.body) for _, run in self.started]


async def look(*notifiers: Notifier, every: bool = True) -> None:
    await asyncio.gather(*(each.step(every=every) for each in notifiers))
    for each in notifiers:
        await each.settle()


@pytest.fixture
def house(database_url: str) -> Iterator[Installation]:
    made = Installation(empty_journal(database_url))
    yield made
    made.engine.dispose()


@pytest.mark.parametrize(
    ("state", "tells"),
    [
        ("Failed", 1),
        ("TimedOut", 1),
        ("Interrupted", 1),
        ("Cancelled", 0),
        ("Succeeded", 0),
        ("Running", 0),
        ("Waiting", 0),
    ],
)
async def test_a_run_that_failed_starts_one_run(house: Installation, state: str, tells: int):
    one, two = house.process("one"), house.process("two")
    await look(one, two)
    failed = house.fail(state=state)
    await look(one, two)
    await look(one, two)
    await look(house.process("after a restart"))
    assert [told["run_id"] for told in house.told] == [failed] * tells
    assert one.outcomes["started"] + two.outcomes["started"] == tells


async def test_the_run_has_the_failure_as_its_body_and_no_person(house: Installation):
    one = house.process()
    await look(one)
    failed = house.fail(caller_kind="schedule")
    await look(one)
    [(_, run)] = house.started
    assert run.caller == Caller("failure", name="failure of nightly")
    assert (run.started_by, run.request.method, run.request.path) == (StartedBy.FAILURE, "POST", "/triggers/notify-me")
    assert run.request.headers["content-type"] == run.request.content_type == "application/json"
    [told] = house.told
    assert (told["run_id"], told["workflow"], told["state"]) == (failed, "nightly", "Failed")
    assert told["error"] == {"type": "ValueError", "message": "no such table"}


async def test_of_a_secured_run_only_the_type_is_told(house: Installation):
    one = house.process()
    await look(one)
    house.fail(workflow="payroll")
    await look(one)
    assert [told["error"] for told in house.told] == [{"type": "ValueError", "message": None}]


async def test_a_run_of_this_process_is_told_of_at_once(house: Installation):
    one = house.process()
    await look(one)
    failed, _ = house.fail(1), house.fail(2)
    await look(one, every=False)
    assert house.told == []
    one.failed(failed)
    await look(one, every=False)
    assert [told["run_id"] for told in house.told] == [failed]


async def test_a_second_look_waits_for_what_the_first_one_starts(house: Installation):
    one = house.process()
    await look(one)
    failed = house.fail()
    first = asyncio.create_task(one.step())
    await asyncio.sleep(0)
    await look(one)
    assert [told["run_id"] for told in house.told] == [failed]
    await first


async def test_failures_before_on_failure_was_written_start_nothing(house: Installation):
    house.fail(1)
    house.now += 1
    one = house.process()
    await look(one)
    house.triggers = {}
    await look(one)
    house.fail(2)
    house.now += 1
    house.triggers = served()
    await look(one)
    assert house.told == []


@pytest.mark.parametrize("durable", [False, True])
async def test_a_process_that_was_killed_leaves_failures_that_the_next_one_finds(house: Installation, durable: bool):
    await look(house.process())
    began = house.now - (90 * 86400 if durable else 100)
    name = "payroll" if durable else "nightly"
    failed = house.fail(at=began, workflow=name, started_at=began)
    interrupted = house.fail(2, "Running", at=began, workflow=name, started_at=began, ended_at=None, node="gone")
    house.now += AGE / 2
    house.operate(lambda connection: interrupt(connection, "gone", house.now))
    await look(house.process())
    assert {told["run_id"]: told["state"] for told in house.told} == {failed: "Failed", interrupted: "Interrupted"}


async def test_a_failure_that_nobody_could_tell_of_for_a_day_starts_nothing(house: Installation):
    await look(house.process())
    house.fail()
    house.now += AGE + 1
    await look(house.process())
    assert house.told == []


@pytest.mark.parametrize(
    ("kind", "parents", "tells"),
    [
        ("failure", [], 0),
        ("finding", [], 0),
        ("schedule", [], 1),
        ("application", ["failure"], 0),
        ("application", ["finding"], 0),
        ("application", ["application", "finding"], 0),
        ("anonymous", ["anonymous", "failure"], 0),
        ("application", ["application", "schedule"], 1),
    ],
)
async def test_what_a_failure_or_a_finding_started_leads_to_no_other_run(
    house: Installation, kind: str, parents: list[str], tells: int
):
    one = house.process()
    await look(one)
    for number, parent in enumerate(parents):
        above = f"parent-{number + 1}" if number + 1 < len(parents) else None
        add(house.engine, runs, run_row(f"parent-{number}", caller_kind=parent, parent_run_id=above))
    house.fail(caller_kind=kind, parent_run_id="parent-0" if parents else None)
    with capture_logs() as logs:
        await look(one)
        await look(one)
    assert len(house.told) == tells
    assert one.outcomes["skipped"] == 1 - tells
    assert [line["event"] for line in logs] == ["failure-notice-started" if tells else "failure-notice-skipped"]


async def test_a_run_that_hears_of_a_failure_and_fails_starts_nothing(house: Installation):
    one = house.process()
    await look(one)
    house.fail(workflow="notify-me", caller_kind="failure")
    await look(one)
    assert house.told == []


async def test_a_storm_of_failures_starts_few_runs(house: Installation):
    one = house.process()
    await look(one)
    for number in range(200):
        house.fail(number)
    with capture_logs() as logs:
        await look(one)
    assert len(house.told) == BURST
    assert sum(told["more_failures"] for told in house.told) == 200 - BURST
    assert [line["more_failures"] for line in logs if line["event"] == "failures-coalesced"] == [200 - BURST]
    for number in range(200, 300):
        house.fail(number)
    await look(one)
    assert len(house.told) == BURST
    house.now += SECONDS_PER_NOTICE
    await look(one)
    assert (len(house.told), house.told[-1]["more_failures"]) == (BURST + 1, 99)
    assert one.outcomes == {"started": BURST + 1, "coalesced": 289, "skipped": 0, "not-started": 0}


async def test_a_run_that_could_not_start_is_tried_again(house: Installation):
    one = house.process()
    await look(one)
    house.fail()
    house.refuses = "too-many-runs"
    with capture_logs() as logs:
        await look(one)
    assert [(line["event"], line["reason"]) for line in logs] == [("failure-notice-not-started", "too-many-runs")]
    house.refuses = ""
    await look(one)
    assert len(house.told) == 1


async def test_a_run_whose_end_is_recorded_later_is_not_started_again(house: Installation):
    one = house.process()
    await look(one)
    house.fail()
    house.late = True
    for _ in range(2):
        await look(one)
    assert (len(house.told), one.outcomes["started"], one.outcomes["not-started"]) == (1, 1, 0)


async def test_a_workflow_that_went_away_is_named_in_the_log(house: Installation):
    one = house.process()
    await look(one)
    house.fail()
    kept = house.triggers.pop("notify-me")
    with capture_logs() as logs:
        await look(one)
    assert [(line["on_failure"], line["reason"]) for line in logs] == [("notify-me", "unknown-trigger")]
    house.triggers["notify-me"] = kept
    await look(one)
    assert len(house.told) == 1


async def test_a_server_process_that_stops_leaves_failures_to_others(house: Installation):
    one = house.process()
    await look(one)
    house.fail()
    house.stops = True
    await look(one)
    assert house.told == []


async def test_what_was_told_is_forgotten_when_it_can_be_told_no_more(house: Installation):
    one = house.process()
    await look(one)
    house.fail(1)
    await look(one)
    house.now += KEPT + 1
    house.operate(lambda connection: connection.execute(delete(runs)))
    house.fail(2)
    await look(one)
    assert house.operate(lambda connection: connection.scalar(select(func.count()).select_from(failure_notices))) == 1
