"""What becomes of durable runs when server processes die, freeze, come back, or look at the same time."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from postern.journal.durable_runs import DEATHS, NODE, SUSPECT, Hold, Phase, claim, owned_of
from postern.journal.durable_tables import durable_runs
from postern.journal.durable_upkeep import (
    Reaped,
    counts,
    lost,
    owned,
    owners,
    put_back,
    reap,
    take_up_again,
)
from postern.journal.run import DURABLE_MOVES, State, before
from postern.journal.schema import runs
from postern.journal.server_processes import NO_ROW, ServerProcess, beat, interrupt
from tests.journal.engines import add, all_of, run_row

pytestmark = pytest.mark.slow


def durable_row(run_id: str, phase: str = "running", **others: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(column.name for column in durable_runs.columns)
    owner = "a" if phase == "running" else None
    row |= {"run_id": run_id, "workflow": "hello", "phase": phase, "owner": owner, "attempt": 1, "deaths": 0}
    return row | {"digest": "d", "request": "{}"} | others


def put(engine: Engine, *rows: dict[str, Any], **of_run: Any) -> None:
    """These runs, with records whose states fit."""
    for row in rows:
        state = "Running" if row["phase"] == "running" else "Waiting"
        add(engine, runs, run_row(row["run_id"], node=NODE, **{"state": state, **of_run}))
        add(engine, durable_runs, row)


def process(name: str, count: int) -> ServerProcess:
    return ServerProcess(name, "there", "7:70", 0.0, count)


def of(engine: Engine, run_id: str) -> tuple[str, str | None, int, str]:
    (row,) = [row for row in all_of(engine, durable_runs, "run_id") if row["run_id"] == run_id]
    (record,) = [row for row in all_of(engine, runs) if row["id"] == run_id]
    return row["phase"], row["owner"], row["deaths"], record["state"]


def test_the_runs_of_a_gone_process_are_ready_and_those_that_wait_are_nobodys(engine):
    put(
        engine,
        durable_row("1"),
        durable_row("2", "waiting", owner="a", reason="sleeping", wakes_at=9.0),
        durable_row("3", owner="b"),
        durable_row("4", "ready"),
        durable_row("5", "parked", reason="workflow-missing"),
    )
    with engine.begin() as connection:
        beat(connection, process("a", 3))
        assert reap(connection, "a", 3, 50.0) == Reaped(ready=1, wait=1)
        assert not reap(connection, "a", 3, 50.0)
    assert of(engine, "1") == ("ready", None, 1, "Waiting")
    assert of(engine, "2") == ("waiting", None, 0, "Waiting")
    assert of(engine, "3") == ("running", "b", 0, "Running")
    assert of(engine, "4") == ("ready", None, 0, "Waiting")
    assert of(engine, "5") == ("parked", None, 0, "Waiting")
    assert next(row for row in all_of(engine, durable_runs, "run_id") if row["run_id"] == "2")["wakes_at"] == 9.0


@pytest.mark.parametrize(
    ("row", "seen", "reaped"), [(3, 3, True), (4, 3, False), (None, NO_ROW, True), (None, 3, False), (3, NO_ROW, False)]
)
def test_a_process_that_has_beaten_meanwhile_keeps_its_runs(engine, row, seen, reaped):
    """Its row is read in the transaction: a process that was frozen between its look and this changes nothing."""
    put(engine, durable_row("1"))
    with engine.begin() as connection:
        if row is not None:
            beat(connection, process("a", row))
        assert bool(reap(connection, "a", seen, 50.0)) is reaped
    assert of(engine, "1")[0] == ("ready" if reaped else "running")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_of_two_processes_that_reap_at_once_one_does(engine):
    put(engine, durable_row("1"))
    with engine.begin() as first, engine.begin() as second:
        beat(first, process("b", 1))
        assert reap(first, "a", NO_ROW, 50.0)
        assert not reap(second, "a", NO_ROW, 50.0)
    with engine.begin() as third:
        assert not reap(third, "a", NO_ROW, 50.0)
    assert of(engine, "1") == ("ready", None, 1, "Waiting")


def test_a_process_killed_while_it_reaps_leaves_all_to_the_next(engine):
    put(engine, durable_row("1"))
    with engine.connect() as connection:
        assert reap(connection, "a", NO_ROW, 50.0)
        connection.rollback()
    assert of(engine, "1") == ("running", "a", 0, "Running")
    with engine.begin() as connection:
        assert reap(connection, "a", NO_ROW, 50.0)
    assert of(engine, "1") == ("ready", None, 1, "Waiting")


def test_the_hold_of_a_process_that_comes_back_is_void(engine):
    put(engine, durable_row("1"))
    first, second = Hold("1", "a", 1), Hold("1", "a", 2)
    with engine.begin() as connection:
        assert owned_of(connection, [first, second]) == {first}
        reap(connection, "a", NO_ROW, 50.0)
        assert owned_of(connection, [first, second]) == set()
        (again,) = claim(connection, "a", {}, 10)
        assert again.attempt == 2
        assert owned_of(connection, [first, second]) == {second}


@pytest.mark.parametrize("state", ["Running", "Interrupted"])
def test_a_run_that_killed_five_processes_has_failed(engine, state):
    put(engine, durable_row("1", deaths=DEATHS - 1, key_version="v"), state=state, kept_bytes=1000)
    put(engine, durable_row("2", deaths=DEATHS - 2))
    with engine.begin() as connection:
        assert reap(connection, "a", NO_ROW, 50.0) == Reaped(ready=1, failed=["1"])
    assert of(engine, "1") == ("ended", None, DEATHS, "Failed")
    assert of(engine, "2") == ("ready", None, DEATHS - 1, "Waiting")
    record = all_of(engine, runs)[0]
    assert (record["status"], record["ended_at"]) == (500, 50.0)
    assert (record["error_type"], record["error_shown"]) == ("too-many-crashes", 1)
    assert json.loads(record["outputs"])["code"] == "too-many-crashes"
    assert json.loads(record["reply_headers"]) == [["content-type", "application/problem+json"]]
    assert record["kept_bytes"] == 1000 + len(record["outputs"])
    assert all_of(engine, durable_runs, "run_id")[0]["request"] == "{}", "to resume it"


def test_owners_without_a_row_are_found(engine):
    """A process of the release before deletes the row of one that is gone, and knows no durable runs."""
    put(engine, durable_row("1"), durable_row("2"), durable_row("3", owner="b"), durable_row("4", "ready"))
    with engine.begin() as connection:
        beat(connection, process("a", 1))
        beat(connection, process("b", 1))
        assert owners(connection) == []
        interrupt(connection, "a", 50.0)
        assert owners(connection) == [ServerProcess("a", "", "", 0.0, NO_ROW)]
    assert of(engine, "1") == ("running", "a", 0, "Running")


def test_a_run_that_arrived_nowhere_is_ready_again_in_its_attempt_only(engine):
    put(engine, durable_row("1"), durable_row("2", attempt=2), durable_row("3", owner="b"), durable_row("4"))
    put(engine, durable_row("5", "waiting", owner="a"))
    with engine.begin() as connection:
        found = owned(connection, "a")
        assert sorted(found) == [Hold("1", "a", 1), Hold("2", "a", 2), Hold("4", "a", 1), Hold("5", "a", 1)]
        assert lost(found, {"4"}, []) == []  # claimed only just now
        missing = lost(found, {"4", "5"}, found)
        assert sorted(missing) == [Hold("1", "a", 1), Hold("2", "a", 2)]
        stale = [Hold("1", "a", 1), Hold("2", "a", 1), Hold("3", "a", 1), Hold("5", "a", 1)]
        assert put_back(connection, stale) == ["1"]
    assert of(engine, "1") == ("ready", None, 0, "Waiting")
    assert [of(engine, each)[0] for each in "234"] == ["running"] * 3
    assert of(engine, "5") == ("waiting", None, 0, "Waiting")


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("ready", "Waiting"), ("running", "Running"), ("waiting", "Waiting"), ("parked", "Waiting"), ("ended", None)],
)
def test_a_durable_run_that_reads_interrupted_is_taken_up_again(engine, phase, expected):
    put(engine, durable_row("1", phase), state="Interrupted", ended_at=40.0)
    add(engine, runs, run_row("2", state="Interrupted"))
    with engine.begin() as connection:
        assert take_up_again(connection) == (1 if expected else 0)
    assert of(engine, "1")[3] == (expected or "Interrupted")
    assert [row["ended_at"] for row in all_of(engine, runs)] == [None if expected else 40.0, None]
    assert all_of(engine, runs)[1]["state"] == "Interrupted"


def test_runs_are_counted_by_phase(engine):
    put(engine, durable_row("1"), durable_row("2"), durable_row("3", "waiting"), durable_row("4", "ended"))
    with engine.begin() as connection:
        assert counts(connection) == {"running": 2, "waiting": 1}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.WAITING, {State.RUNNING, State.INTERRUPTED}),
        (State.RUNNING, {State.WAITING, State.RUNNING, State.INTERRUPTED}),
        (State.FAILED, {State.RUNNING, State.INTERRUPTED}),
        (State.CANCELLED, {State.WAITING, State.RUNNING, State.INTERRUPTED}),
    ],
)
def test_a_durable_run_goes_by_the_table_of_moves(state, expected):
    assert before(state) == expected
    for each in expected:
        assert state in DURABLE_MOVES[each] or State.WAITING in DURABLE_MOVES[each]
    assert set(Phase) == {"ready", "running", "waiting", "parked", "ended"}


def test_suspects_are_taken_one_at_a_time_and_others_beside_them(engine):
    put(engine, *[durable_row(each, "ready", deaths=SUSPECT) for each in "12"], durable_row("3", "ready", deaths=1))
    with engine.begin() as connection:
        assert [each.run_id for each in claim(connection, "a", {}, 10)] == ["1", "3"]
        assert claim(connection, "b", {}, 10, suspect=False) == []
        (second,) = claim(connection, "b", {}, 10)
        assert (second.run_id, second.deaths) == ("2", SUSPECT)
