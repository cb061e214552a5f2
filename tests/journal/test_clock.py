"""A wrong clock deletes nothing: neither records nor keys."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, func, select
from structlog.testing import capture_logs

from postern.access import ANYONE
from postern.journal import clock
from postern.journal.clock import ANCHOR, CATCH_UP, TOLERANCE, Look, advance, confirm, jump, look, times_of_key
from postern.journal.idempotency_keys import KEPT_FOR, Claim, Claimed, Running
from postern.journal.retention import DAY, Retention
from postern.journal.schema import idempotency_keys, runs
from postern.journal.writing.rows import facts
from postern.runs.claims import claim_for_run
from postern.runs.idempotency import Key
from tests.journal.engines import add, run_row
from tests.journal.test_queue import run_of
from tests.journal.test_retention import id_at, key

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NOW = 1_700_000_000.0
HOUR = 3600.0


class Machine:
    """A server process with a clock that can be wrong, and time that passes."""

    def __init__(self, engine: Engine, wall: float = NOW) -> None:
        self.engine = engine
        self.wall = wall
        self.at = 500.0
        self.retention = Retention(self.write, 30, now=lambda: self.wall, passed=lambda: self.at)

    async def write(self, operation: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    async def round(self, after: float = HOUR) -> list[str]:
        """A round of deleting after so many seconds. Returns what was logged."""
        self.at += after
        self.wall += after
        with capture_logs() as logs:
            await self.retention.sweep()
        return [line["event"] for line in logs]

    async def left(self, table: Any = runs) -> int:
        return int(await self.write(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one()))


@pytest.fixture
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own clock, also on PostgreSQL."""
    monkeypatch.setattr(clock, "wall_clock", lambda connection, own: own)


@pytest.fixture
def recorded(engine: Engine) -> Engine:
    """A run and a key of an hour ago, a run of 29 days and one of 31 days ago."""
    ages = (HOUR, 29 * DAY, 31 * DAY)
    add(engine, runs, *(run_row(id_at(NOW - age), state="Succeeded") for age in ages))
    add(engine, idempotency_keys, key("k", NOW - HOUR))
    return engine


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.floats(-1e6, 1e6))
def test_the_confirmed_time_is_never_after_the_clock_nor_faster_than_it_may_be(confirmed, wall, passed):
    found = confirm(confirmed, wall, passed)
    assert found <= wall
    assert found <= confirmed + max(passed, 0) * CATCH_UP
    assert found >= min(confirmed, wall)


@pytest.mark.parametrize(
    ("walked", "passed", "ahead"),
    [
        (HOUR, HOUR, 0),
        (HOUR + TOLERANCE, HOUR, 0),
        (HOUR - TOLERANCE, HOUR, 0),
        (40 * DAY, HOUR, 40 * DAY - HOUR),
        (-40 * DAY, HOUR, -40 * DAY - HOUR),
        (HOUR, 0, HOUR),
    ],
)
def test_a_clock_jumped_if_it_did_not_go_as_time_passed(walked, passed, ahead):
    assert jump(Look(NOW, NOW, 5.0), Look(NOW + walked, NOW, 5.0 + passed)) == ahead


@pytest.mark.usefixtures("one_clock")
async def test_a_clock_that_is_ahead_for_a_minute_deletes_nothing(recorded):
    """A process that runs on finds the jump; one that starts meanwhile has no time confirmed."""
    machine = Machine(recorded)
    assert await machine.round() == ["records-deleted"]
    assert await machine.left() == 2
    machine.wall += 40 * DAY
    assert await machine.round() == ["clock-jumped"]
    started = Machine(recorded, machine.wall)
    assert await started.round(0) == []
    assert await started.round(60) == ["clock-not-confirmed"]
    machine.wall -= 40 * DAY
    assert await machine.round(60) == ["clock-jumped"]
    assert await machine.round() == []
    assert (await machine.left(), await machine.left(idempotency_keys)) == (2, 1)


@pytest.mark.usefixtures("one_clock")
async def test_a_clock_that_is_behind_for_a_minute_changes_nothing(recorded):
    machine = Machine(recorded)
    await machine.round()
    machine.wall -= 40 * DAY
    assert await machine.round(60) == ["clock-jumped"]
    machine.wall += 40 * DAY
    assert await machine.round(60) == ["clock-jumped"]
    machine.wall += 2 * DAY
    machine.at += 2 * DAY
    assert await machine.round() == ["records-deleted"]
    assert (await machine.left(), await machine.left(idempotency_keys)) == (1, 0)


@pytest.mark.usefixtures("one_clock")
async def test_after_a_long_stop_of_all_servers_old_records_go_a_little_later(recorded):
    await Machine(recorded).round()
    again = Machine(recorded, NOW + 10 * DAY)
    await again.round(0)
    rounds = 0
    while "records-deleted" not in await again.round():
        rounds += 1
    assert rounds <= 10
    while await again.round():
        rounds += 1
    assert 8 <= rounds <= 12
    assert await again.left() == 1


@pytest.mark.usefixtures("one_clock")
def test_processes_that_confirm_at_once_confirm_no_more_than_one_of_them(engine):
    with engine.begin() as connection:
        seen = look(connection, NOW, 0.0)
        found = [advance(connection, NOW + 40 * DAY, seen, 60.0).confirmed for _ in range(6)]
    assert found == [NOW + 60 * CATCH_UP] * 6


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.process
async def test_on_postgresql_the_clock_of_the_database_decides(engine):
    """However wrong that of a server process is."""
    now = time.time()
    add(engine, runs, *(run_row(id_at(now - age), state="Succeeded") for age in (HOUR, 29 * DAY, 31 * DAY)))
    for more, wrong in enumerate((-40 * DAY, 40 * DAY)):
        machine = Machine(engine, now + wrong)
        await machine.round(0)
        machine.at += 1.0
        await machine.retention.sweep()
        assert await machine.left() == 2 + more
        with engine.begin() as connection:
            assert abs(claimed(connection, f"scope-{more}", now + wrong) - now) < HOUR


def claimed(connection: Connection, scope: str, at: float) -> float:
    """The time of a key that a process with this clock claims."""
    claim_at(connection, scope, at)
    row = connection.execute(select(idempotency_keys.c.created_at).where(idempotency_keys.c.scope == scope))
    return float(row.scalar_one())


def claim_at(connection: Connection, scope: str, at: float) -> Claim | None:
    return claim_for_run(connection, Key(scope, "f"), facts(run_of(1, ANYONE)), "node", at)


@pytest.mark.usefixtures("one_clock")
@pytest.mark.parametrize("wrong", [-40 * DAY, 40 * DAY])
def test_no_clock_ends_a_key_early(engine, wrong):
    """Claimed by the wrong clock, or by another one that is right."""
    with engine.begin() as connection:
        look(connection, NOW, 0.0)
        assert claim_at(connection, "a", NOW) == Claimed()
        connection.info.clear()  # another process
        assert isinstance(claim_at(connection, "a", NOW + wrong), Running)
        assert claim_at(connection, "b", NOW + wrong) == Claimed()
        connection.info.clear()
        assert isinstance(claim_at(connection, "b", NOW), Running)


def test_times_of_keys_go_on_with_the_time_that_passes_and_are_read_again_after_a_minute(engine, monkeypatch):
    reads: list[float] = []

    def read(_: Connection, own: float) -> float:
        reads.append(own)
        return own

    monkeypatch.setattr(clock, "wall_clock", read)
    with engine.begin() as connection:
        found = [
            times_of_key(connection, own, KEPT_FOR, lambda at=at: at).now  # type: ignore[misc]
            for own, at in ((NOW, 10.0), (NOW + 40 * DAY, 11.0), (NOW + 70, 10.5 + ANCHOR))
        ]
    assert (found, reads) == ([NOW, NOW + 1, NOW + 70], [NOW, NOW + 70])
