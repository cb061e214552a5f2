"""Reads for pages: some steps of a run, how many runs are newer, and the chain a run is in. Each touches few rows."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert

from postern.journal.database.engine import open_engine
from postern.journal.reading import newer_runs as newer
from postern.journal.reading import queries
from postern.journal.reading import step_window as window
from postern.journal.reading.call_tree import find_chain
from postern.journal.reading.cursor import sealed
from postern.journal.reading.filters import RunFilter
from postern.journal.reading.newer_runs import Newer, newer_runs
from postern.journal.reading.queries import find_run, find_run_alone, list_runs
from postern.journal.reading.records import RunRecord
from postern.journal.reading.resubmits import resubmits_of, resubmitted_as
from postern.journal.reading.run_parts import run_parts
from postern.journal.reading.step_window import StepWindow, step_window
from postern.journal.run import State
from postern.journal.schema import calls, steps
from tests.databases import put_sqlite
from tests.examples import example_count
from tests.journal.recorded import NOON, TENANT, id_number, put, run_row

pytestmark = pytest.mark.slow

RUN = id_number(1)
ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"


def first_run(connection: Connection) -> RunRecord:
    run = find_run_alone(connection, RUN)
    assert run is not None
    return run


def one_page(connection: Connection, filters: RunFilter, below: str = "") -> object:
    """A page that looks at as many rows on every machine."""
    return list_runs(connection, filters, sealed(filters, below) if below else None, clock=lambda: 0.0)


def put_steps(connection: Connection, *failed: int, total: int) -> None:
    attempts = json.dumps([(NOON, NOON + 1, "")])
    rows = [
        {"run_id": RUN, "number": n, "name": str(n), "succeeded": int(n not in failed), "attempts": attempts}
        for n in range(1, total + 1)
    ]
    connection.execute(insert(steps), rows)


def numbers(found: StepWindow) -> tuple[list[int], list[int]]:
    return [step.number for step in found.steps], [step.number for step in found.failed]


def test_a_window_of_steps_and_failed_ones_beside_it(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(window, "MOST_FAILED", 3)
    with engine.begin() as connection:
        put(connection, run_row(1))
        assert numbers(step_window(connection, RUN)) == ([], [])
        assert step_window(connection, RUN).last is None
        put_steps(connection, 2, 5, 6, 8, 9, 20, total=20)
        found = step_window(connection, RUN, most=5)
        assert (numbers(found), found.more) == (([1, 2, 3, 4, 5], [8, 9, 20]), True)
        assert found.last is not None
        assert found.last.number == 20
        found = step_window(connection, RUN, after=5, most=5)
        assert (numbers(found), found.more) == (([6, 7, 8, 9, 10], [2, 5, 20]), True)
        found = step_window(connection, RUN, after=18, most=5)
        assert (numbers(found), found.more) == (([19, 20], [6, 8, 9]), False)
        found = step_window(connection, RUN, most=20)
        assert (numbers(found), found.more) == ((list(range(1, 21)), []), False)
        monkeypatch.setattr(window, "MOST_EXAMINED", 14)
        found = step_window(connection, RUN, most=5)
        assert (numbers(found)[1], found.examined) == ([8, 9, 20], False)


def test_a_run_of_a_page_is_the_record_without_its_many_parts(engine: Engine):
    with engine.begin() as connection:
        put(connection, run_row(1))
        put_steps(connection, total=60)
        row = {"run_id": RUN, "number": 1, "name": "a", "started_at": NOON, "ended_at": NOON}
        connection.execute(insert(calls), row)
        found = run_parts(connection, RUN)
        whole = find_run(connection, RUN)
        assert whole is not None
        assert found.record is not None
        assert (found.record.inputs, found.record.steps) == (whole.inputs, ())
        assert (found.calls, len(found.window.steps)) == (whole.calls, 50)
        assert run_parts(connection, RUN, may_see=lambda run: run.id != RUN) == run_parts(connection, id_number(9))
        nothing = run_parts(connection, id_number(9))
        assert (nothing.record, nothing.calls, nothing.window.steps) == (None, (), ())


NEWER = [
    (RunFilter(), 0, 6),
    (RunFilter(), 4, 2),
    (RunFilter(workflow="hello"), 0, 4),
    (RunFilter(state=State.FAILED), 0, 2),
    (RunFilter(state=State.SUCCEEDED, workflow="book"), 0, 2),
    (RunFilter(owner=(TENANT, ADA)), 0, 2),
    (RunFilter(owner=("another", ADA)), 0, 0),
    (RunFilter(text="nowhere"), 0, 0),
    (RunFilter(since=NOON + 5), 0, 2),
    (RunFilter(parent=RUN), 0, 1),
    (RunFilter(kind="schedule"), 0, 0),
    (RunFilter(kind="user"), 0, 2),
    (RunFilter(kind="anonymous"), 4, 1),
]


@pytest.mark.parametrize(("filters", "above", "number"), NEWER)
def test_newer_runs_are_those_of_the_list_above_an_id(engine: Engine, filters: RunFilter, above: int, number: int):
    with engine.begin() as connection:
        put(
            connection,
            run_row(1),
            run_row(2, state="Failed"),
            run_row(3, workflow="book", parent_run_id=RUN),
            run_row(4, workflow="book", object_id=ADA),
            run_row(5, object_id=ADA),
            run_row(6, state="Failed"),
        )
        assert newer_runs(connection, filters, id_number(above)) == Newer(number, more=False)


def test_many_newer_runs_are_not_all_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    with engine.begin() as connection:
        put(connection, *(run_row(n) for n in range(1, 200)))
        assert newer_runs(connection, RunFilter(), id_number(0)) == Newer(99, more=True)
        assert newer_runs(connection, RunFilter(), id_number(100)) == Newer(99, more=False)
        monkeypatch.setattr(newer, "MOST_EXAMINED", 50)
        assert newer_runs(connection, RunFilter(text="nowhere"), id_number(0)) == Newer(0, more=True)


def test_a_text_is_not_searched_in_newer_runs_for_long(engine: Engine):
    """The bodies of 1,000 runs take a second, each time that an open page asks."""
    with engine.begin() as connection:
        put(connection, *(run_row(n) for n in range(1, 200)), run_row(200, workflow="book"))
        filters = RunFilter(text="book")
        assert newer_runs(connection, filters, id_number(0), itertools.count().__next__) == Newer(0, more=True)
        assert newer_runs(connection, filters, id_number(180), itertools.count().__next__) == Newer(1, more=False)
        assert newer_runs(connection, filters, id_number(0), lambda: 0.0) == Newer(1, more=False)


def test_resubmits_of_a_run_are_found(engine: Engine):
    def numbers_of(connection: Connection, number: int) -> list[int]:
        run = find_run(connection, id_number(number))
        assert run is not None
        return [int(each.id[-12:], 16) for each in resubmits_of(connection, run)]

    with engine.begin() as connection:
        again = {3: 1, 6: 1, 9: 1, 7: 2}
        put(
            connection,
            *(run_row(n, resubmitted_from=id_number(again[n]) if n in again else None) for n in range(1, 11)),
        )
        put(connection, run_row(11, workflow="book", resubmitted_from=RUN))
        assert [numbers_of(connection, n) for n in (1, 2, 3)] == [[3, 6, 9, 11], [7], []]
        found = resubmitted_as(connection, [id_number(n) for n in (1, 2, 3)])
        assert found == {id_number(1): [id_number(n) for n in (3, 6, 9, 11)], id_number(2): [id_number(7)]}


def test_a_read_looks_at_few_rows_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SQLite counts the steps of its machine: they are the same among five times as many rows."""
    engine = open_engine(put_sqlite(tmp_path / "runs.db"), writing=True)
    reads: dict[str, Any] = {
        "page": lambda c: one_page(c, RunFilter(text="no")),
        "since": lambda c: one_page(c, RunFilter(text="no", since=NOON)),
        "until": lambda c: one_page(c, RunFilter(text="no", until=NOON + 1e6), id_number(700)),
        "newer": lambda c: newer_runs(c, RunFilter(workflow="book", text="no"), id_number(0), still),
        "newer since": lambda c: newer_runs(c, RunFilter(text="no", since=NOON), id_number(1000), still),
        "newer until": lambda c: newer_runs(c, RunFilter(text="no", until=NOON + 1e6), id_number(0), still),
        "mine": lambda c: newer_runs(c, RunFilter(owner=(TENANT, ADA), text="no"), id_number(0), still),
        "steps": lambda connection: step_window(connection, RUN),
        "resubmits": lambda connection: resubmits_of(connection, first_run(connection)),
    }

    def still() -> float:
        return 0.0

    def work(read: Any) -> int:
        looks = 0

        def note() -> int:
            nonlocal looks
            looks += 1
            return 0

        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(note, 100)
            try:
                read(connection)
            finally:
                driver.set_progress_handler(None, 0)
        return looks

    def fill(begin: int, end: int) -> None:
        with engine.begin() as connection:
            put(connection, *(run_row(n, workflow="book", object_id=ADA) for n in range(begin, end)))
            attempts = json.dumps([(NOON, NOON + 1, "Boom")])
            rows = [
                {"run_id": RUN, "number": n, "name": "s", "succeeded": int(n % 2), "attempts": attempts}
                for n in range(begin, end)
            ]
            connection.execute(insert(steps), rows)

    monkeypatch.setattr(queries, "MOST_CANDIDATES", 500)
    fill(1, 3000)
    before = {name: work(read) for name, read in reads.items()}
    fill(3000, 15_000)
    after = {name: work(read) for name, read in reads.items()}
    engine.dispose()
    assert all(0 < after[name] <= before[name] + 2 for name in reads), (before, after)


def test_steps_without_a_failure_are_examined_to_a_bound(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(window, "MOST_EXAMINED", 10)
    with engine.begin() as connection:
        put(connection, run_row(1))
        put_steps(connection, 3, total=200)
        found = step_window(connection, RUN, after=50)
    assert (found.failed, found.examined) == ((), False)


IDS = st.integers(1, 6)


@given(st.lists(st.tuples(IDS, IDS), max_size=8), st.sets(IDS), IDS)
@settings(max_examples=example_count(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_chain_has_the_run_and_begins_at_one_that_may_be_seen(
    sqlite: Engine, parents: list[tuple[int, int]], hidden: set[int], of: int
):
    above = dict(parents)

    def may_see(run: RunRecord) -> bool:
        return int(run.id[-12:], 16) not in hidden

    with sqlite.connect() as connection:
        put(
            connection,
            *(run_row(n, parent_run_id=id_number(above[n]) if n in above else None) for n in range(1, 7)),
        )
        run = find_run(connection, id_number(of))
        assert run is not None
        tree = find_chain(connection, run, may_see)
        connection.rollback()
    inside = {tree.root.id} | {branch.run.id for row in tree.branches.values() for branch in row if branch.run}
    assert run.id in inside
    assert tree.root.id == run.id or may_see(tree.root)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = open_engine(put_sqlite(tmp_path_factory.mktemp("chains") / "runs.db"), writing=True)
    yield made
    made.dispose()


def test_a_tree_that_is_too_large_for_the_run_is_the_one_below_it(engine: Engine):
    with engine.begin() as connection:
        put(connection, run_row(1), *(run_row(n, parent_run_id=RUN) for n in range(2, 30)))
        run = find_run(connection, id_number(29))
        assert run is not None
        assert find_chain(connection, run, lambda _: True, most=5).root.id == run.id
        assert find_chain(connection, run, lambda _: True).root.id == RUN
