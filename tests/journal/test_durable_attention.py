"""What the journal says about durable runs that need a person."""

import pytest
from sqlalchemy import Engine, event

from postern.journal.durable_tables import approvals, durable_runs
from postern.journal.reading import durable_attention
from postern.journal.reading.decisions import decided, numbered
from postern.journal.reading.durable_attention import late, old_approvals, parked, parked_runs
from postern.journal.schema import runs
from tests.journal.engines import add, run_row
from tests.journal.recorded import NOON, id_number
from tests.journal.test_reads_of_durable_runs import MIA, approval_row, durable_row

ADA = ("tenant", "ada-id")


def park(engine: Engine, number: int, workflow: str, reason: str, owner: str = "lisa-id") -> str:
    run_id = id_number(number)
    add(engine, durable_runs, durable_row(run_id, "parked", workflow=workflow, reason=reason))
    add(engine, runs, run_row(run_id, workflow=workflow, state="Waiting", tenant_id="tenant", object_id=owner))
    return run_id


def test_parked_runs_are_grouped_by_workflow_and_reason_and_a_person_sees_only_own_ones(engine: Engine):
    first, second = (park(engine, number, "book", "workflow-missing") for number in (1, 2))
    own = park(engine, 3, "pay", "workflow-changed", "ada-id")
    add(engine, durable_runs, durable_row(id_number(4)), durable_row(id_number(5), "ended"))
    with engine.connect() as connection:
        groups = [(each.workflow, each.reason, each.count, each.run_id) for each in parked(connection)]
        assert groups == [("book", "workflow-missing", 2, first), ("pay", "workflow-changed", 1, own)]
        assert [each.run_id for each in parked(connection, ADA)] == [own]
        assert parked(connection, ("other", "ada-id")) == []
        listed = parked_runs(connection, None, 2)
        assert [each.run_id for each in listed] == [first, second]
        place = listed[-1].workflow, listed[-1].run_id
        assert [each.run_id for each in parked_runs(connection, place, 2)] == [own]


def test_runs_that_no_process_takes_are_told_by_workflow(engine: Engine):
    add(
        engine,
        durable_runs,
        durable_row(id_number(1), "ready", attempt=0),
        durable_row(id_number(2), "ready", attempt=0),
        durable_row(id_number(3), "ready", attempt=1),
        durable_row(id_number(99), "ready", attempt=0),
    )
    with engine.connect() as connection:
        [found] = late(connection, NOON + 50)
        assert (found.workflow, found.count, found.run_id, found.more) == ("hello", 2, id_number(1), False)
        assert late(connection, NOON) == []


def test_approvals_that_wait_for_long_are_counted_unless_their_time_is_over(engine: Engine):
    add(
        engine,
        approvals,
        approval_row("1", 1, "a", since=NOON),
        approval_row("1", 2, "b", since=NOON + 1, until=NOON + 5),
        approval_row("1", 3, "c", since=NOON, state="approved", decided_at=NOON),
        approval_row("1", 4, "d", since=NOON + 90),
    )
    with engine.connect() as connection:
        found = old_approvals(connection, NOON + 60, NOON + 70)
        assert found is not None
        assert (found.count, found.since, found.more) == (1, NOON, False)
        assert old_approvals(connection, NOON, NOON) is None


def test_reads_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(durable_attention, "MOST_READ", 2)
    for number in range(3):
        park(engine, number, "book", "workflow-missing")
    add(engine, durable_runs, *(durable_row(id_number(10 + number), "ready", attempt=0) for number in range(3)))
    add(engine, approvals, *(approval_row("1", number, "a", since=NOON) for number in range(3)))
    with engine.connect() as connection:
        [group], [waiting] = parked(connection), late(connection, NOON + 60)
        asked = old_approvals(connection, NOON + 60, NOON)
    assert (group.count, group.more) == (waiting.count, waiting.more) == (2, True)
    assert asked is not None
    assert (asked.count, asked.more) == (2, True)


def test_the_newest_decisions_are_read_without_what_people_saw(engine: Engine):
    by = {"state": "approved", "decided_by": MIA}
    add(
        engine,
        approvals,
        approval_row("1", 1, "a", decided_at=NOON, **by),
        approval_row("1", 2, "b", decided_at=NOON + 1, **by),
        approval_row("1", 3, "c"),
        approval_row("1", 4, "d", state="timed-out"),
    )
    with engine.connect() as connection:
        assert [(each.name, each.data) for each in decided(connection)] == [("b", "null"), ("a", "null")]
        assert [each.name for each in decided(connection, 1)] == ["b"]
        found = numbered(connection, "1", 1)
        assert found is not None
        assert found.name == "a"
        assert numbered(connection, "1", 9) is None


def test_runs_that_have_ended_are_not_looked_at(engine: Engine):
    statements: list[tuple[str, tuple[object, ...]]] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append((given[2], given[3])))
    with engine.connect() as connection:
        parked_runs(connection, ("book", id_number(1)), 5)
        late(connection, NOON)
        old_approvals(connection, NOON, NOON)
        decided(connection)
        made = [each for each in statements if "durable_runs" in each[0] or "approvals" in each[0]]
        assert len(made) == 4
        if engine.dialect.name == "sqlite":  # PostgreSQL proves by itself that an index fits
            plans = [
                " ".join(str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given))
                for text, given in made
            ]
            assert [plan for plan in plans if "SCAN durable_runs" in plan or "SCAN approvals" in plan] == []
