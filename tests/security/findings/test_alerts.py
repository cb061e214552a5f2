"""Alerts: one server process starts each, few at a time, and what an alert does starts no other one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from sqlalchemy import Connection, Engine
from structlog.testing import capture_logs

from postern.errors import problem
from postern.ids import id_at
from postern.journal.finding import Evidence, Finding, FindingKind, Sighting, Who
from postern.journal.findings import find, record
from postern.journal.run import Run, State
from postern.journal.schema import runs
from postern.security.findings.alerts import AGE, BURST, RESERVED, SECONDS_PER_ALERT, Alerts
from tests.databases import put_sqlite
from tests.journal.engines import add, empty_journal, run_row
from tests.security.findings.world import NOW

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = empty_journal(put_sqlite(tmp_path / "findings.db"))
    yield engine
    engine.dispose()


@dataclass
class Node:
    """A server process that starts alerts."""

    engine: Engine
    at: float = NOW + 5
    wrong: str = ""
    error: Exception | None = None
    state: State = State.SUCCEEDED
    started: list[str] = field(default_factory=list)
    own_client: str = ""
    alerts: Alerts = field(init=False)

    def __post_init__(self) -> None:
        self.alerts = Alerts("notify", self.on, self.on, self.start, lambda: self.wrong, self.own_client, now=self.now)

    def now(self) -> float:
        self.at += 1e-6  # two server processes never read the same moment
        return self.at

    async def on(self, operation: Callable[[Connection], T], /) -> T:
        with self.engine.begin() as connection:
            return operation(connection)

    async def start(self, finding: Finding, run_id: str) -> Run:
        if self.error is not None:
            raise self.error
        self.started.append(finding.id)
        return cast("Run", SimpleNamespace(outcome=SimpleNamespace(state=self.state)))

    async def step(self) -> list[str]:
        self.started.clear()
        await self.alerts.step()
        await self.alerts.settle()
        return list(self.started)


def found(
    engine: Engine, number: int = 0, at: float = NOW, client: str = "", subject: str = "", **evidence: Any
) -> str:
    """The id of a new finding."""
    made = Sighting(
        id_at(at + number),
        FindingKind.NEW_NETWORK,
        subject or f"t/{number}",
        at,
        at,
        1,
        Who(client_id=client),
        evidence=Evidence(**evidence),
    )
    with engine.begin() as connection:
        [finding] = record(connection, made.id, 1, NOW, [made])
    return finding.id


def alerted_at(engine: Engine, finding_id: str) -> float | None:
    with engine.begin() as connection:
        finding = find(connection, finding_id)
    assert finding is not None
    return finding.alerted_at


async def test_each_finding_starts_one_alert_on_one_server_process(engine: Engine):
    one, two = Node(engine), Node(engine, at=NOW + 5.5)
    finding = found(engine)
    assert await one.step() == [finding]
    assert await two.step() == await one.step() == []
    assert +one.alerts.outcomes == {"succeeded": 1}


async def test_a_flood_of_findings_starts_few_alerts_and_one_more_each_minute(engine: Engine):
    node = Node(engine)
    ids = [found(engine, number) for number in range(BURST + 30)]
    assert await node.step() == ids[:BURST]
    assert await node.step() == []
    node.at += SECONDS_PER_ALERT
    assert await node.step() == [ids[BURST]]
    node.at += AGE
    assert len(await node.step()) == 0  # they are too old by now


async def test_a_flood_of_findings_about_addresses_leaves_room_for_those_about_callers(engine: Engine):
    """Anyone can cause the former, without a token."""
    node = Node(engine)
    addresses = [found(engine, number, subject=f"address/192.0.2.{number}") for number in range(BURST + 150)]
    assert await node.step() == addresses[: BURST - RESERVED]
    assert await node.step() == []
    callers = [found(engine, BURST + 200 + number) for number in range(RESERVED + 1)]
    assert await node.step() == callers[:RESERVED]
    node.at += SECONDS_PER_ALERT
    assert await node.step() == [callers[RESERVED]]


async def test_an_alert_that_could_not_start_is_tried_again(engine: Engine):
    node = Node(engine, error=problem("too-many-runs"))
    finding = found(engine)
    with capture_logs() as logs:
        assert await node.step() == []
    assert [(line["event"], line["reason"]) for line in logs] == [("alert-not-started", "too-many-runs")]
    assert alerted_at(engine, finding) is None
    node.error = None
    assert await node.step() == [finding]


@pytest.mark.parametrize(("state", "error"), [(State.FAILED, None), (State.SUCCEEDED, ValueError("secret"))])
async def test_a_failed_alert_is_logged_and_counted_and_not_repeated(
    engine: Engine, state: State, error: Exception | None
):
    node = Node(engine, state=state, error=error)
    found(engine)
    with capture_logs() as logs:
        await node.step()
        assert await node.step() == []
    assert [line["event"] for line in logs] == ["alert-failed"]
    assert "secret" not in str(logs)
    assert +node.alerts.outcomes == {"failed": 1}


async def test_without_its_workflow_findings_wait(engine: Engine):
    node = Node(engine, wrong="no workflow of this name is served")
    finding = found(engine)
    with capture_logs() as logs:
        assert await node.step() == []
    assert [(line["event"], line["reason"]) for line in logs] == [("alert-not-started", node.wrong)]
    node.wrong = ""
    assert await node.step() == [finding]


async def test_what_a_run_of_an_alert_does_starts_no_other_alert(engine: Engine):
    add(engine, runs, run_row("alert", caller_kind="finding"))
    add(engine, runs, run_row("child", parent_run_id="alert"), run_row("plain", parent_run_id="other"))
    node = Node(engine, own_client="own")
    found(engine, 1, runs=("plain", "child"))
    found(engine, 2, client="own", refused=("r",))
    other = [found(engine, 3, runs=("plain",)), found(engine, 4, client="c", refused=("r",))]
    with capture_logs() as logs:
        assert await node.step() == other
    assert [line["event"] for line in logs if line["event"] == "alert-skipped"] == ["alert-skipped"] * 2
    assert await node.step() == []


async def test_a_new_finding_wakes_the_task(engine: Engine):
    node = Node(engine)
    task = asyncio.create_task(node.alerts.run())
    await asyncio.sleep(0)
    finding = found(engine)
    node.alerts.wake()
    while not node.started:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert node.started == [finding]
