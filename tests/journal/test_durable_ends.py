"""Durable runs that are ended from outside, and ended ones that go on."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text, update

from postern import anonymous, workflow
from postern.access import ANYONE
from postern.authoring.request import Request
from postern.journal.durable_acceptance import Accepted, accept
from postern.journal.durable_bytes import PLACE
from postern.journal.durable_ends import (
    AFTER_LAST,
    FROM_START,
    Cancelled,
    Requested,
    cancel,
    cancel_ownerless,
    let_go_ended,
    repeated,
    requested,
    resume,
)
from postern.journal.durable_outcomes import record_outcome
from postern.journal.durable_runs import Hold, claim
from postern.journal.durable_tables import approvals, durable_runs
from postern.journal.reading.durable import ended_of
from postern.journal.reading.queries import find_run, request_cancel
from postern.journal.resumable import NotResumed
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import calls, runs, signals, steps
from postern.journal.storage import sums
from postern.journal.writing.rows import facts, run_row
from tests.journal.engines import add, all_of
from tests.journal.test_durable_upkeep import durable_row, put

pytestmark = pytest.mark.slow

BY = json.dumps({"kind": "user", "object_id": "o", "client_id": None, "name": None})
WHO = json.dumps(["t", "o"])


def durable(engine: Engine, run_id: str = "1") -> dict[str, Any]:
    return next(row for row in all_of(engine, durable_runs, "run_id") if row["run_id"] == run_id)


def outcome_of(engine: Engine, run_id: str = "1") -> dict[str, Any]:
    return next(row for row in all_of(engine, runs) if row["id"] == run_id)


def put_ended(engine: Engine, state: State, **others: Any) -> None:
    """A durable run that has ended in this state."""
    put(engine, durable_row("1", "ended", owner=None, **others), state=state.value, ended_at=9.0, status=500)


@pytest.mark.parametrize(
    ("phase", "how"),
    [
        ("ready", Cancelled.ENDED),
        ("waiting", Cancelled.ENDED),
        ("parked", Cancelled.ENDED),
        ("running", Cancelled.REQUESTED),
        ("ended", None),
    ],
)
def test_a_run_that_does_not_run_is_cancelled_at_once(engine: Engine, phase: str, how: Cancelled | None):
    put(engine, durable_row("1", phase, reason="sleeping", wakes_at=99.0))
    with engine.begin() as connection:
        assert cancel(connection, "1", 50.0, BY) is how
    found = outcome_of(engine)
    if how is Cancelled.ENDED:
        assert (durable(engine)["phase"], durable(engine)["wakes_at"]) == ("ended", None)
        assert (found["state"], found["status"], found["ended_at"]) == ("Cancelled", 409, 50.0)
        assert (found["cancelled_by"], json.loads(found["outputs"])["code"]) == (BY, "run-cancelled")
        assert durable(engine)["request"] == "{}", "it can be resumed"
    elif how is Cancelled.REQUESTED:
        assert (found["state"], found["cancel_requested_at"], found["cancelled_by"]) == ("Running", 50.0, BY)
    else:
        assert found["cancelled_by"] is None


def test_an_inline_run_is_not_cancelled_as_a_durable_one(engine: Engine):
    with engine.begin() as connection:
        assert cancel(connection, "1", 50.0, BY) is None


def test_a_run_that_a_release_before_made_interrupted_is_cancelled_all_the_same(engine: Engine):
    put(engine, durable_row("1", "waiting"), state="Interrupted", ended_at=40.0)
    with engine.begin() as connection:
        assert find_run(connection, "1").state is State.WAITING  # type: ignore[union-attr]
        assert ended_of(connection, ["1"]) == []
        assert cancel(connection, "1", 50.0, BY) is Cancelled.ENDED
        assert ended_of(connection, ["1"]) == ["1"]
    assert (outcome_of(engine)["state"], outcome_of(engine)["ended_at"]) == ("Cancelled", 50.0)


def test_the_process_that_has_a_run_learns_that_it_is_to_be_cancelled(engine: Engine):
    put(engine, durable_row("1"), durable_row("2", "waiting", owner="a"), durable_row("3", owner="b"))
    with engine.begin() as connection:
        for run_id in "123":
            cancel(connection, run_id, 50.0, BY)
        found = requested(connection, "a")
        assert sorted(found, key=lambda each: each.run_id) == [Requested("1", BY, False), Requested("2", BY, True)]
        let_go_ended(connection, "a", ["1", "2"])
        assert requested(connection, "a") == [Requested("1", BY, False)]


def test_a_run_that_lost_the_process_which_was_to_cancel_it_is_ended_by_another_one(engine: Engine):
    put(engine, durable_row("1", "ready"), durable_row("2", "ready"))
    with engine.begin() as connection:
        assert request_cancel(connection, "1", 40.0, BY)
        assert cancel_ownerless(connection, 50.0) == ["1"]
        assert cancel_ownerless(connection, 50.0) == []
    assert (outcome_of(engine, "1")["state"], outcome_of(engine, "2")["state"]) == ("Cancelled", "Waiting")


@pytest.mark.process
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_outcome_that_comes_while_the_run_is_cancelled_is_not_recorded(engine: Engine):
    put(engine, durable_row("1", "waiting", owner="a"))
    run = Run("1", workflow(access=anonymous(), name="hello")(hello), ANYONE, Request("POST", "/"), 1.0, 60.0)
    run.outcome = Outcome(State.TIMED_OUT, 504, b"{}")
    with ThreadPoolExecutor(1) as threads, engine.begin() as connection:
        assert cancel(connection, "1", 50.0, BY) is Cancelled.ENDED
        recorded = threads.submit(record, engine, run)
        while not waits_for_a_lock(connection):
            assert not recorded.done()
        connection.commit()
        assert recorded.result() is False
    found = outcome_of(engine)
    assert (found["state"], found["status"], durable(engine)["reply"]) == ("Cancelled", 409, None)


def record(engine: Engine, run: Run) -> bool:
    with engine.begin() as connection:
        return record_outcome(connection, facts(run), Hold("1", "a", 1), reply=("sealed", "1"))


def waits_for_a_lock(connection: Connection) -> bool:
    connection.execute(text("SELECT pg_stat_clear_snapshot()"))  # otherwise a transaction always sees the same
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(connection.execute(text(query)).scalar_one())


async def hello(ctx) -> None: ...


@pytest.mark.parametrize(
    ("row", "state", "from_start", "expected"),
    [
        ({"phase": "ended", "failed_step": 3}, "Failed", False, 3),
        ({"phase": "ended", "failed_step": 3}, "Failed", True, FROM_START),
        ({"phase": "ended"}, "TimedOut", False, AFTER_LAST),
        ({"phase": "ended"}, "Cancelled", False, AFTER_LAST),
        ({"phase": "parked", "reason": "workflow-changed"}, "Waiting", False, None),
        ({"phase": "parked", "reason": "workflow-changed"}, "Waiting", True, FROM_START),
        ({"phase": "parked", "repeat_from": 2}, "Waiting", False, 2),
        ({"phase": "ended", "request": None}, "Failed", False, NotResumed.GONE),
        ({"phase": "ended", "request": None}, "Succeeded", False, NotResumed.SUCCEEDED),
        ({"phase": "running"}, "Running", False, NotResumed.UNENDED),
        ({"phase": "ready"}, "Waiting", False, NotResumed.UNENDED),
    ],
)
def test_which_runs_are_resumed_and_from_where(
    engine: Engine, row: dict[str, Any], state: str, from_start: bool, expected: int | NotResumed | None
):
    put(engine, durable_row("1", **row), state=state, ended_at=9.0 if row["phase"] == "ended" else None)
    with engine.begin() as connection:
        found = resume(connection, "1", WHO, from_start=from_start)
    if isinstance(expected, NotResumed):
        assert found is expected
        return
    assert found is None
    row = durable(engine)
    assert (row["phase"], row["repeat_from"], row["deaths"]) == ("ready", expected, 0)
    assert json.loads(row["resumed_by"]) == [["t", "o"]]
    assert row["repeats"] == (1 if expected not in (None, AFTER_LAST) else 0)


@pytest.mark.parametrize(
    ("state", "reply", "kept"),
    [(State.SUCCEEDED, None, 0), (State.SUCCEEDED, ("whole", None), 5), (State.FAILED, ("whole", "v1"), 5 + 4000)],
)
def test_what_an_anonymous_run_keeps_beside_its_record_is_in_the_sums(
    engine: Engine, state: State, reply: tuple[str, str | None] | None, kept: int
):
    code = workflow(access=anonymous(), name="hello")(hello)
    run = Run("1", code, ANYONE, Request("POST", "/triggers/hello"), 1.0)
    with engine.begin() as connection:
        accept(connection, facts(run), Accepted("digest", "x" * 4000))
        url = engine.url.render_as_string(hide_password=False)
        before = sums(connection, url).runs["hello", ""]
        assert before > 4000
        (claimed,) = claim(connection, "here", {}, 1)
        run.outcome, run.ended_at = Outcome(state, 200, b""), 9.0
        bare = run_row(facts(run), "durable")[PLACE]
        assert record_outcome(connection, facts(run), Hold("1", "here", claimed.attempt), reply=reply)
        assert sums(connection, url).runs["hello", ""] == bare + kept


def test_an_inline_run_is_not_resumed(engine: Engine):
    with engine.begin() as connection:
        assert resume(connection, "1", WHO, from_start=False) is NotResumed.INLINE


def test_a_resumed_run_has_no_outcome_and_no_request_to_cancel_it(engine: Engine):
    put_ended(engine, State.CANCELLED)
    with engine.begin() as connection:
        connection.execute(runs.update().values(cancel_requested_at=8.0, cancelled_by=BY, outputs="1", error_type="e"))
        assert resume(connection, "1", WHO, from_start=False) is None
    found = outcome_of(engine)
    gone = ("status", "ended_at", "outputs", "error_type", "cancel_requested_at", "cancelled_by")
    assert (found["state"], *[found[name] for name in gone]) == ("Waiting", *[None] * len(gone))


@pytest.mark.parametrize(("from_start", "kept"), [(False, [1]), (True, [])])
def test_what_is_repeated_is_taken_back(engine: Engine, from_start: bool, kept: list[int]):
    put_ended(engine, State.FAILED, failed_step=5)
    sent = {"run_id": "1", "name": "go", "sent_at": 1.0, "sent_by": BY, "size": 1, "key_version": None, "body": "1"}
    for number in (2, 6):
        add(engine, signals, {**sent, "id": str(number), "taken_by": number, "print": None})
    with engine.begin() as connection:
        for number, succeeded in ((1, 1), (2, 0)):
            row = {"run_id": "1", "number": number, "name": "s", "succeeded": succeeded, "attempts": "[]"}
            connection.execute(insert(steps).values(row))
        resume(connection, "1", WHO, from_start=from_start)
        assert list(connection.execute(steps.select()).scalars()) == ["1"] * len(kept)
        assert not connection.execute(calls.select()).all()
        assert not connection.execute(approvals.select()).all()
    assert [row["taken_by"] for row in all_of(engine, signals, "id")] == [None if from_start else 2, None]


def test_a_resumed_run_is_repeated_once_and_has_no_place_until_it_begins(engine: Engine):
    put_ended(engine, State.FAILED, failed_step=2)
    put(engine, durable_row("2"))
    with engine.begin() as connection:
        resume(connection, "1", WHO, from_start=False)
        assert claim(connection, "b", {"hello": 1}, 9) == [], "another one has the only place"
        [claimed] = claim(connection, "b", {"hello": 2}, 9)
        assert (claimed.repeat_from, claimed.attempt, claimed.repeats) == (2, 2, 1)
        assert not repeated(connection, Hold("1", "b", 1))
        assert repeated(connection, Hold("1", "b", 2))
    assert durable(engine)["repeat_from"] is None


def test_a_process_that_stood_still_while_it_recorded_an_outcome_records_none(engine: Engine):
    put(engine, durable_row("1"))
    row = run_facts("1")

    def late() -> bool:
        with engine.begin() as connection:
            return record_outcome(connection, row, Hold("1", "a", 1))

    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as connection:  # another process takes the run over, which is not committed yet
            connection.execute(update(durable_runs).values(owner="b", attempt=2))
            recorded = thread.submit(late)
            time.sleep(0.3)
        assert recorded.result() is False
    assert (durable(engine)["phase"], durable(engine)["owner"], outcome_of(engine)["state"]) == (
        "running",
        "b",
        "Running",
    )


def run_facts(run_id: str) -> tuple[Any, ...]:
    """What a process writes of a run that has succeeded."""
    run = Run(run_id, workflow(access=anonymous())(hello), ANYONE, Request("POST", "/triggers/x"), 1.0)
    run.outcome, run.ended_at = Outcome(State.SUCCEEDED, 200, b"null", ()), 2.0
    return facts(run)
