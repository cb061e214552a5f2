"""Looks for runs to claim cost the same whatever else is on record."""

from sqlalchemy import Engine, event

from postern.journal.durable_limits import claimable
from postern.journal.durable_runs import SUSPECT, claim, wake
from postern.journal.durable_tables import durable_runs
from postern.journal.durable_upkeep import has_work
from tests.journal.engines import add
from tests.journal.recorded import NOON, id_number
from tests.journal.test_reads_of_durable_runs import durable_row


def test_a_claim_by_key_reads_no_rows_which_have_the_requests(engine: Engine):
    if engine.dialect.name != "sqlite":  # PostgreSQL chooses by the number of rows
        return
    query = claimable("hello", 1, 10, SUSPECT).compile(engine, compile_kwargs={"literal_binds": True})
    with engine.begin() as connection:
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    looks = [step for step in plan if "durable_runs" in step]
    assert len(looks) == 2
    assert all("USING COVERING INDEX durable_runs_by_key (workflow=?" in step for step in looks)


def test_runs_that_have_ended_are_not_looked_at(engine: Engine):
    add(engine, durable_runs, durable_row(id_number(1), "ready", attempt=0), durable_row(id_number(2), "ended"))
    statements: list[tuple[str, tuple[object, ...]]] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append((given[2], given[3])))
    with engine.begin() as connection:
        assert has_work(connection, NOON) == (False, True)
        assert [each.run_id for each in claim(connection, "here", {"hello": 5}, 10)] == [id_number(1)]
        assert wake(connection, NOON) == 0
    reads = [each for each in statements if each[0].lstrip().startswith("SELECT") and "durable_runs" in each[0]]
    assert len(reads) >= 5
    if engine.dialect.name == "sqlite":  # PostgreSQL proves by itself that an index fits
        with engine.begin() as connection:
            plans = [
                str(row[3])
                for text, given in reads
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)
            ]
        of_all = [plan for plan in plans if "SCAN durable_runs" in plan and "durable_runs_by_phase" not in plan]
        assert of_all == []
        assert any("durable_runs_by_wakes_at (wakes_at<?)" in plan for plan in plans)
