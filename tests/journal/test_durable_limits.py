"""Runs that wait for a place: `max_concurrency` of a workflow, and of each of its keys, in all server processes."""

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from postern.journal.durable_limits import CLAIM_LOCK, waiting_by_workflow, waiting_for_key
from postern.journal.durable_runs import claim
from postern.journal.durable_tables import durable_runs
from postern.journal.reading.durable import durable_states
from tests.journal.engines import add
from tests.journal.recorded import id_number
from tests.journal.test_reads_of_durable_runs import durable_row


def row(number: int, key: str | None, phase: str = "ready", attempt: int = 0, **more: Any) -> dict[str, Any]:
    return durable_row(id_number(number), phase, attempt=attempt, concurrency_key=key, **more)


def claimed(engine: Engine, node: str, limit: int, most: int = 10) -> list[int]:
    """The numbers of the runs that a server process claims."""
    with engine.begin() as connection:
        found = claim(connection, node, {"hello": limit}, most, keyed={"hello"})
    return [int(each.run_id[-12:], 16) for each in found]


def end(engine: Engine, number: int) -> None:
    with engine.begin() as connection:
        ended = update(durable_runs).where(durable_runs.c.run_id == id_number(number))
        connection.execute(ended.values(phase="ended", owner=None))


WAITING = [
    pytest.param([row(1, "a"), row(2, "a"), row(3, "b")], 1, [1, 3], id="one for each key"),
    pytest.param([row(1, "a"), row(2, "a"), row(3, "a"), row(4, "b")], 2, [1, 2, 4], id="two for each key"),
    pytest.param([row(1, "a", "running", 1), row(2, "a"), row(3, "b")], 1, [3], id="one has begun"),
    pytest.param([row(1, "a", "waiting", 1), row(2, "a")], 1, [], id="one that waits keeps its place"),
    pytest.param([row(1, "a", "parked", 1), row(2, "a")], 1, [], id="so does one that is parked"),
    pytest.param([row(1, "a", "ended", 1), row(2, "a")], 1, [2], id="one has ended"),
    pytest.param([row(1, "a"), row(2, "a", attempt=2)], 1, [2], id="one that goes on after a crash has its place"),
    pytest.param([row(1, "a"), row(2, "a", attempt=2, repeat_from=0)], 1, [1], id="a resumed one takes a new one"),
    pytest.param([row(1, "a", "running", 1), row(2, "a", attempt=2, repeat_from=0)], 1, [], id="if there is one"),
    pytest.param([row(1, None), row(2, None), row(3, "a")], 1, [1, 3], id="runs of before there was a key are of one"),
    pytest.param([row(1, "a", "running", 1, workflow="other"), row(2, "a")], 1, [2], id="another workflow"),
]


@pytest.mark.parametrize(("rows", "limit", "expected"), WAITING)
def test_which_runs_are_claimed(engine: Engine, rows: list[dict[str, Any]], limit: int, expected: list[int]) -> None:
    add(engine, durable_runs, *rows)
    assert claimed(engine, "here", limit) == expected


def test_two_server_processes_run_one_of_each_key_and_the_next_when_it_has_ended(engine: Engine) -> None:
    add(engine, durable_runs, *[row(number, "abc"[number % 3]) for number in range(1, 10)])
    assert claimed(engine, "one", 1, most=2) == [1, 2]
    assert claimed(engine, "other", 1) == [3]
    assert (claimed(engine, "one", 1), claimed(engine, "other", 1)) == ([], [])
    end(engine, 2)
    assert claimed(engine, "other", 1) == [5]


def test_a_long_queue_of_one_key_does_not_delay_the_others(engine: Engine) -> None:
    add(engine, durable_runs, *[row(number, "a") for number in range(1, 60)], row(60, "b"))
    assert claimed(engine, "here", 1, most=5) == [1, 60]


def test_nothing_with_a_limit_is_claimed_while_another_server_process_counts(engine: Engine) -> None:
    add(engine, durable_runs, row(1, "a"), row(2, None, workflow="free"))
    if engine.dialect.name == "sqlite":  # one process writes at a time
        assert sorted(claimed(engine, "here", 1)) == [1, 2]
        return
    with engine.begin() as other:
        other.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CLAIM_LOCK})")
        assert claimed(engine, "here", 1) == [2]
    assert claimed(engine, "here", 1) == [1]


def test_which_runs_wait_for_their_key(engine: Engine) -> None:
    add(
        engine,
        durable_runs,
        *(row(1, "a", "running", 1), row(2, "a"), row(3, "b"), row(4, None), row(5, "a", attempt=1, repeat_from=0)),
        *(row(6, "a", "ended", 1), row(7, "b", attempt=1)),
    )
    with engine.begin() as connection:
        found = connection.execute(select(durable_runs.c.run_id).where(waiting_for_key())).scalars()
        assert sorted(int(each[-12:], 16) for each in found) == [2, 5]
        assert waiting_by_workflow(connection) == {"hello": 2}
        states = durable_states(connection, [id_number(number) for number in range(1, 8)])
        reasons = [states[id_number(number)].reason for number in range(1, 8)]
        assert reasons == [None, "concurrency", None, None, "concurrency", None, None]
