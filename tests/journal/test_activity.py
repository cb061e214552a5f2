"""What the console reads about all runs: right numbers, and a bounded number of rows however many there are."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, text

from postern.journal.reading import activity as reading
from postern.journal.reading.activity import MINUTES, MOST_A_MINUTE, Minute, activity
from postern.journal.reading.attention import any_run, bursts, failing
from postern.journal.reading.failures import MOST_FAILURES
from postern.journal.schema import refusals
from tests.journal.recorded import NOON, TENANT, put, refusal_at, run_at

pytestmark = pytest.mark.slow

ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"
LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
ELSEWHERE = "4bdfc9b5-6862-4464-9df6-b11a2f8afd3e"
NOW = NOON + 3599
"""The last second of the hour that begins at NOON."""


def by_minute(found: list[Minute]) -> dict[int, Minute]:
    """The minutes that have runs, by their number."""
    return {round((each.at - NOON) / 60): each for each in found if each.total or each.failed}


# What is counted


def test_each_minute_has_its_runs_failures_and_durations(engine: Engine):
    with engine.begin() as connection:
        put(
            connection,
            *(run_at(n, 65 + n / 10, took=n / 10) for n in range(1, 21)),
            run_at(30, 130, state="Failed"),
            run_at(31, 130, state="TimedOut"),
            run_at(32, 131, state="Interrupted", took=None),
            run_at(33, 131, state="Cancelled"),
            run_at(34, 190, state="Running", took=None),
            run_at(35, -1),  # before the hour
        )
        found = activity(connection, NOW)
    assert [each.at for each in found] == [NOON + 60 * n for n in range(MINUTES)]
    minutes = by_minute(found)
    assert minutes.keys() == {1, 2, 3}
    assert (minutes[1].total, minutes[1].failed, minutes[1].estimated) == (20, 0, False)
    assert minutes[1].median == pytest.approx(1.05)
    assert minutes[1].most == pytest.approx(1.905)
    assert (minutes[2].total, minutes[2].failed) == (4, 3)
    assert minutes[2].median == pytest.approx(0.25)
    assert minutes[3] == Minute(NOON + 180, 1)


def test_a_person_counts_only_runs_that_this_person_started(engine: Engine):
    with engine.begin() as connection:
        put(
            connection,
            run_at(1, 10, object_id=ADA),
            run_at(2, 11, object_id=LISA, state="Failed"),
            run_at(3, 12),
            run_at(4, 13, object_id=ADA, state="Failed"),
            run_at(5, 14, object_id=ADA) | {"tenant_id": ELSEWHERE},
        )
        ada, lisa, nobody = (
            activity(connection, NOW, owner) for owner in ((TENANT, ADA), (TENANT, LISA), (ELSEWHERE, LISA))
        )
    assert (by_minute(ada)[0].total, by_minute(ada)[0].failed) == (2, 1)
    assert (by_minute(lisa)[0].total, by_minute(lisa)[0].failed) == (1, 1)
    assert by_minute(nobody) == {}


@pytest.mark.parametrize("owner", [None, (TENANT, ADA)])
def test_very_many_runs_of_a_minute_are_estimated_by_the_time_that_the_first_ones_span(engine: Engine, owner: Any):
    each = 60 / (4 * MOST_A_MINUTE)
    with engine.begin() as connection:
        put(
            connection,
            *(run_at(n, n * each, object_id=ADA, state="Failed" if n % 4 == 0 else "Succeeded") for n in range(2000)),
            *(run_at(3000 + n, 120 + n, object_id=ADA) for n in range(7)),
        )
        minutes = by_minute(activity(connection, NOW, owner))
    assert minutes.keys() == {0, 2}
    assert minutes[0].estimated
    assert minutes[0].total == pytest.approx(2000, rel=0.01)
    assert minutes[0].failed == pytest.approx(500, rel=0.01)
    assert (minutes[2].total, minutes[2].failed, minutes[2].estimated) == (7, 0, False)
    assert minutes[2].median == pytest.approx(0.25)


def test_the_minute_that_goes_on_is_estimated_until_now(engine: Engine):
    """Half a minute has passed, with 50 runs a second."""
    with engine.begin() as connection:
        put(connection, *(run_at(n, n / 50) for n in range(1500)))
        minutes = by_minute(activity(connection, NOON + 30))
    assert minutes[0].total == pytest.approx(1500, rel=0.01)


# What needs a person


def test_failing_workflows_are_listed_by_their_last_failure_with_its_error(engine: Engine):
    with engine.begin() as connection:
        put(
            connection,
            run_at(1, 10, workflow="payroll", state="Failed", error_type="ValueError"),
            run_at(2, 20, workflow="payroll", state="TimedOut"),
            run_at(3, 30, workflow="payroll", state="Running", took=None),
            run_at(4, 40, workflow="hello", state="Failed", error_type="KeyError"),
            run_at(5, 50, workflow="hello"),
            run_at(6, 60, workflow="whoami", state="Cancelled"),
            run_at(7, -9, workflow="old", state="Failed"),
        )
        found = failing(connection, NOON)
    assert [(each.workflow, each.count, each.error, each.recovered) for each in found] == [
        ("hello", 1, "KeyError", True),
        ("payroll", 2, "TimedOut", False),
    ]
    assert found[1].run_id == run_at(2, 20)["id"]
    assert found[1].at == NOON + 20
    assert not found[0].more


def test_a_person_is_shown_failures_of_their_own_runs_only(engine: Engine):
    with engine.begin() as connection:
        put(
            connection,
            run_at(1, 10, workflow="payroll", state="Failed", object_id=ADA),
            run_at(2, 11, workflow="hello", state="Failed", object_id=LISA),
            run_at(3, 12, workflow="payroll", object_id=LISA),
            run_at(4, 13, workflow="hello", object_id=LISA),
            run_at(5, 14, workflow="visits", state="Failed", object_id=LISA) | {"tenant_id": ELSEWHERE},
        )
        ada, lisa = (failing(connection, NOON, (TENANT, person)) for person in (ADA, LISA))
    assert [(each.workflow, each.count, each.recovered) for each in ada] == [("payroll", 1, False)]
    assert [(each.workflow, each.count, each.recovered) for each in lisa] == [("hello", 1, True)]


def test_of_very_many_failures_at_least_so_many_are_counted(engine: Engine):
    with engine.begin() as connection:
        put(connection, *(run_at(n, n / 10, state="Failed") for n in range(2 * MOST_FAILURES)))
        (found,) = failing(connection, NOON)
    assert (found.count, found.more) == (MOST_FAILURES, True)


def test_rejected_requests_of_one_reason_and_workflow_count_together(engine: Engine):
    with engine.begin() as connection:
        rows = [
            refusal_at(1, 10, count=15),
            refusal_at(2, 20, count=40, client_address="192.0.2.8"),
            refusal_at(3, 30, count=19, workflow="hello"),
            refusal_at(4, 40, count=500, reason="audience", client_address="(many)"),
            refusal_at(5, -10, count=500, reason="old"),
        ]
        connection.execute(insert(refusals), rows)
        found = bursts(connection, NOON, 20)
    assert [(each.reason, each.workflow, each.count, each.addresses) for each in found] == [
        ("audience", "payroll", 500, None),
        ("signature", "payroll", 55, 2),
    ]
    assert found[1].refusal_id == rows[1]["id"]


def test_a_journal_knows_whether_it_has_a_run(engine: Engine):
    with engine.begin() as connection:
        assert not any_run(connection)
        put(connection, run_at(1, 1, object_id=ADA))
        assert any_run(connection)
        assert any_run(connection, (TENANT, ADA))
        assert not any_run(connection, (TENANT, LISA))
        assert not any_run(connection, (ELSEWHERE, ADA))


# How much is read

READS: dict[str, Callable[[Connection], Any]] = {
    "activity": lambda connection: activity(connection, NOW),
    "activity of a person": lambda connection: activity(connection, NOW, (TENANT, ADA)),
    "failing": lambda connection: failing(connection, NOON - 86_400),
    "failing of a person": lambda connection: failing(connection, NOON - 86_400, (TENANT, ADA)),
    "bursts": lambda connection: bursts(connection, NOON - 86_400, 20),
    "any run": any_run,
    "any run of a person": lambda connection: any_run(connection, (TENANT, ADA)),
}


def add_many(connection: Connection, first: int, count: int) -> None:
    """So many more runs and refusals, most of them in the hour, all of them of one person, a third of them failed."""
    states = ("Succeeded", "Failed", "Running")
    numbers = range(first, first + count)
    times = {n: n % 3600 if n % 4 else -(n % 80_000) for n in numbers}
    put(connection, *(run_at(n, times[n], object_id=ADA, state=states[n % 3]) for n in numbers))
    connection.execute(insert(refusals), [refusal_at(n, times[n], workflow=f"w{n % 50}") for n in numbers])


def instructions(connection: Connection, read: Callable[[Connection], Any]) -> int:
    """How many instructions SQLite's machine executes: at least one for each row and index entry that it touches."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(step, 10)
    try:
        read(connection)
    finally:
        driver.set_progress_handler(None, 0)
    return count * 10


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_three_times_as_many_rows_cost_a_read_no_more(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "MOST_A_MINUTE", 15)
    monkeypatch.setattr(reading, "SAMPLE", 5)
    with engine.begin() as connection:
        add_many(connection, 0, 6000)
        few = {name: instructions(connection, read) for name, read in READS.items()}
        add_many(connection, 6000, 12_000)
        many = {name: instructions(connection, read) for name, read in READS.items()}
    assert {name: (few[name], many[name]) for name in READS if many[name] > 1.1 * few[name] + 100} == {}


def executed(connection: Connection) -> list[tuple[str, Any]]:
    """All different statements of the reads, with their values."""
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        statements.append((statement, values))

    event.listen(connection, "before_cursor_execute", note)
    for read in READS.values():
        read(connection)
    event.remove(connection, "before_cursor_execute", note)
    return list(dict(statements).items())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_read_goes_along_an_index_and_sorts_nothing(engine: Engine):
    steps: list[str] = []
    with engine.begin() as connection:
        add_many(connection, 0, 3000)
        for statement, values in executed(connection):
            steps += [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert len(steps) >= 8
    touched = [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]
    assert set(touched) <= {"SCAN anon_1", "SCAN runs"}, steps  # a limited subquery, and the first run of all


@pytest.mark.parametrize("database_url", [pytest.param("postgresql", marks=pytest.mark.process)], indirect=True)
def test_no_read_looks_at_rows_in_vain(engine: Engine):
    """Also where PostgreSQL could go along the ids, and leave out the rows of other states, callers and workflows."""
    plans: list[str] = []
    with engine.begin() as connection:
        add_many(connection, 0, 3000)
        put(connection, *(run_at(10_000 + n, n % 3600, workflow="other", object_id=LISA) for n in range(3000)))
        connection.execute(text("ANALYZE runs"))
        for way in ("seqscan", "bitmapscan"):
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        for statement, values in executed(connection):
            found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", values).scalars()
            plans.append("\n".join(found))
    assert len(plans) >= 8
    assert [plan for plan in plans if "Rows Removed" in plan or "Sort" in plan] == []
