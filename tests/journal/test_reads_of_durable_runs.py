"""What pages and the run API read of durable runs."""

import json
from typing import Any

from sqlalchemy import Engine

from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.reading.durable import durable_states
from postern.journal.reading.durable_parts import durable_parts
from tests.journal.engines import add

MIA = json.dumps({"kind": "user", "object_id": "mia-id", "name": "Mia"})


def durable_row(run_id: str, phase: str = "running", **others: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(column.name for column in durable_runs.columns)
    row |= {"run_id": run_id, "workflow": "hello", "phase": phase, "attempt": 2, "deaths": 1, "digest": "d"}
    return row | others


def signal_row(run_id: str, name: str, at: float, **others: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(column.name for column in signals.columns)
    row |= {"run_id": run_id, "id": f"{name}{at}", "name": name, "sent_at": at, "sent_by": MIA, "size": 9}
    return row | {"body": '"secret"'} | others


def approval_row(run_id: str, number: int, name: str, **others: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(column.name for column in approvals.columns)
    row |= {"run_id": run_id, "number": number, "name": name, "workflow": "hello", "who": "{}", "barred": "[]"}
    return row | {"elsewhere": 0, "since": float(number), "state": "waiting", "data": '{"secret": 1}'} | others


def test_a_durable_run_is_read_with_its_signals_and_approvals_but_without_their_bodies(engine: Engine):
    waits = {"reason": "approval", "waits_for": "manager", "wakes_at": 99.0}
    add(engine, durable_runs, durable_row("1", "waiting", **waits, resumed_by='[["tenant", "lisa-id"]]'))
    add(engine, signals, signal_row("1", "b", 2.0), signal_row("1", "a", 1.0, taken_by=4), signal_row("2", "c", 1.0))
    decided = {"state": "approved", "decided_at": 7.0, "decided_by": MIA, "comment": "fine"}
    add(engine, approvals, approval_row("1", 3, "clerk", **decided), approval_row("1", 5, "manager", until=99.0))
    with engine.connect() as connection:
        parts = durable_parts(connection, "1")
        assert durable_parts(connection, "2") is None
    assert parts is not None
    assert (parts.state.phase, parts.state.reason, parts.state.waits_for) == ("waiting", "approval", "manager")
    assert (parts.state.wakes_at, parts.state.attempt, parts.state.deaths) == (99.0, 2, 1)
    assert [(each.name, each.taken, each.sent_by["name"]) for each in parts.signals] == [
        ("a", True, "Mia"),
        ("b", False, "Mia"),
    ]
    manager, clerk = parts.approvals
    assert (manager.name, manager.state, manager.until, manager.decided_by) == ("manager", "waiting", 99.0, None)
    assert (clerk.state, clerk.decided_at, (clerk.decided_by or {})["name"], clerk.comment) == (
        *("approved", 7.0, "Mia", "fine"),
    )
    assert parts.resumed_by == ("lisa-id",)
    assert "secret" not in repr(parts)
    assert "fine" not in repr(parts)


def test_the_states_of_several_runs_are_one_read(engine: Engine):
    add(engine, durable_runs, durable_row("1", "parked", reason="workflow-missing"), durable_row("2"), durable_row("3"))
    with engine.connect() as connection:
        found = durable_states(connection, ["1", "2", "9"])
        assert durable_states(connection, []) == {}
    assert {run_id: state.parked for run_id, state in found.items()} == {"1": True, "2": False}
