"""What is known of callers: joined from all server processes, written once, bounded, and complete since a date."""

from collections.abc import Mapping

from sqlalchemy import Engine

from postern.journal.known_callers import (
    KEPT_DAYS,
    NETWORK,
    WORKFLOW,
    Fact,
    Uses,
    WorkflowUse,
    application_subject,
    caller_subject,
    facts_of,
    known_since,
    note,
    trim,
    workflow_uses,
)
from postern.journal.restored import settle
from postern.journal.schema import known_callers
from tests.journal.engines import all_of

NOW = 1_700_000_000.0
DAY = 86400.0
ADA = caller_subject("t", "ada")


def noted(engine: Engine, facts: Mapping[Fact, Uses], writer: str = "one", number: int = 1, now: float = NOW) -> None:
    with engine.begin() as connection:
        note(connection, writer, number, now, facts)


def trimmed(engine: Engine, now: float = NOW, most_rows: int = 100_000, limit: int = 500) -> int:
    with engine.begin() as connection:
        return trim(connection, now, most_rows, limit)


def read(engine: Engine, *subjects: str) -> dict[Fact, Uses]:
    with engine.begin() as connection:
        return facts_of(connection, subjects)


def since(engine: Engine) -> float | None:
    with engine.begin() as connection:
        return known_since(connection)


def used(workflow: str, subject: str = ADA) -> Fact:
    return Fact(subject, WORKFLOW, workflow)


def test_what_two_server_processes_saw_is_joined(engine: Engine):
    noted(engine, {used("hello"): Uses(NOW, NOW + 5, 3)})
    noted(engine, {used("hello"): Uses(NOW - 9, NOW + 1, 4)}, writer="two")
    assert read(engine, ADA) == {used("hello"): Uses(NOW - 9, NOW + 5, 7)}


def test_a_caller_of_billions_of_requests_is_counted_on(engine: Engine):
    """A thousand requests a second are as many in 25 days."""
    noted(engine, {used("hello"): Uses(NOW, NOW, 2_147_483_647)})
    noted(engine, {used("hello"): Uses(NOW, NOW + 1, 5), used("other"): Uses(NOW, NOW, 1)}, number=2)
    assert {fact.value: uses.count for fact, uses in read(engine, ADA).items()} == {"hello": 2_147_483_652, "other": 1}


def test_a_batch_that_is_repeated_counts_once(engine: Engine):
    facts = {used("hello"): Uses(NOW, NOW, 3)}
    noted(engine, facts)
    noted(engine, facts)
    noted(engine, facts, number=2)
    noted(engine, facts)
    assert read(engine, ADA)[used("hello")].count == 6


def test_uses_are_known_since_the_first_batch(engine: Engine):
    assert since(engine) is None
    noted(engine, {}, now=NOW)
    noted(engine, {}, number=2, now=NOW + 100)
    assert since(engine) == NOW


def test_the_uses_of_workflows_are_those_of_callers(engine: Engine):
    noted(
        engine,
        {
            used("hello"): Uses(NOW, NOW + 1, 2),
            used("hello", application_subject("c")): Uses(NOW, NOW, 2),
            Fact(ADA, NETWORK, "192.0.2.0/24"): Uses(NOW, NOW, 2),
            Fact("", WORKFLOW, "hello"): Uses(NOW, NOW, 2),
        },
    )
    with engine.begin() as connection:
        assert workflow_uses(connection) == [WorkflowUse("t", "ada", "hello", NOW, NOW + 1, 2)]


def test_a_fact_is_kept_for_400_days_after_its_last_use(engine: Engine):
    noted(engine, {used("old"): Uses(NOW - 500 * DAY, NOW, 1), used("new"): Uses(NOW + DAY, NOW + DAY, 1)})
    assert trimmed(engine, NOW + KEPT_DAYS * DAY) == 1  # the number of the last batch is not needed any more
    assert trimmed(engine, NOW + KEPT_DAYS * DAY) == 0
    assert trimmed(engine, NOW + KEPT_DAYS * DAY + 1) == 1
    assert set(read(engine, ADA)) == {used("new")}
    assert since(engine) == NOW


def test_of_too_many_facts_the_oldest_go_and_uses_are_known_since_then(engine: Engine):
    noted(engine, {used(f"w{day}"): Uses(NOW, NOW + day * DAY, 1) for day in range(10)})
    assert trimmed(engine, NOW, most_rows=6, limit=3) == 3
    assert since(engine) == NOW + 2 * DAY
    assert trimmed(engine, NOW, most_rows=6, limit=3) == 1
    assert trimmed(engine, NOW, most_rows=6, limit=3) == 0
    assert set(read(engine, ADA)) == {used(f"w{day}") for day in range(4, 10)}
    assert since(engine) == NOW + 3 * DAY


def test_after_a_restore_uses_are_known_since_then(engine: Engine):
    noted(engine, {used("hello"): Uses(NOW, NOW, 1)})
    with engine.begin() as connection:
        settle(connection)
    found = since(engine)
    assert found is not None
    assert found > NOW + DAY
    assert used("hello") in read(engine, ADA)
    noted(engine, {}, writer="two", now=found + 9)
    assert since(engine) == found


def test_only_facts_are_counted_and_deleted(engine: Engine):
    noted(engine, {used("hello"): Uses(NOW, NOW, 1)})
    assert trimmed(engine, NOW, most_rows=1) == 0
    assert trimmed(engine, NOW, most_rows=0) == 1
    assert {row["fact"] for row in all_of(engine, known_callers, "fact")} == {"batch", "known-since"}
