"""Pages of runs and refusals: every matching one exactly once, in order, and never by sorting."""

import json
import os
from collections.abc import Callable, Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Select, create_engine, delete, insert, text
from sqlalchemy.engine import make_url

from postern.errors import Problem
from postern.journal import schema
from postern.journal.database.engine import migrate, open_engine
from postern.journal.reading import queries
from postern.journal.reading.cursor import opened, sealed
from postern.journal.reading.filters import ANONYMOUS, RefusalFilter, RunFilter, way_of_runs
from postern.journal.reading.queries import find_run, list_refusals, list_runs, request_cancel
from postern.journal.run import Attempt, State, Step
from tests.examples import example_count
from tests.journal.recorded import NOON, TENANT, id_number, put, run_row

pytestmark = pytest.mark.slow

ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"
LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
ELSEWHERE = "4bdfc9b5-6862-4464-9df6-b11a2f8afd3e"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database with the journal's tables."""
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('journal') / 'runs.db'}", writing=True)
        migrate(engine)
    else:
        url = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
        scheme = f"reads_{os.getpid()}"
        engine = create_engine(url, connect_args={"options": f"-csearch_path={scheme}"})
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {scheme}"))
            schema.metadata.create_all(connection)
    yield engine
    if request.param == "postgresql":
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA reads_{os.getpid()} CASCADE"))
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection whose changes go with the test."""
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def all_pages(
    connection: Connection, filters: RunFilter, limit: int, between: Callable[[], None] = lambda: None
) -> list[str]:
    """The ids on all pages, one page after another."""
    found: list[str] = []
    cursor = None
    while True:
        page = list_runs(connection, filters, cursor, limit)
        assert len(page.items) <= limit
        found += [record.id for record in page.items]
        if page.next is None:
            return found
        cursor = page.next
        between()


def matches(row: dict[str, Any], filters: RunFilter) -> bool:
    """What a filter means, said once more in plain Python."""
    searched = [row[name] or "" for name in ("workflow", "caller_name", "error_type", "inputs", "outputs")]
    caller = None if filters.caller == ANONYMOUS else filters.caller
    return (
        filters.workflow in (None, row["workflow"])
        and filters.state in (None, row["state"])
        and (filters.caller is None or row["object_id"] == caller)
        and filters.parent in (None, row["parent_run_id"])
        and (filters.owner is None or filters.owner == (row["tenant_id"], row["object_id"]))
        and (filters.since is None or row["started_at"] >= filters.since)
        and (filters.until is None or row["started_at"] <= filters.until)
        and (filters.text is None or any(filters.text.lower() in each.lower() for each in searched))
    )


PARENT = id_number(0, NOON - 3600)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "workflow": st.sampled_from(["hello", "payroll"]),
            "state": st.sampled_from(["Succeeded", "Failed", "Running"]),
            "object_id": st.sampled_from([None, ADA, LISA]),
            "parent_run_id": st.sampled_from([None, PARENT]),
            "inputs": st.sampled_from([None, '"100%"', '"a_b"', '"Ada"']),
        }
    ),
    max_size=25,
)
FILTERS = st.builds(
    RunFilter,
    workflow=st.sampled_from([None, None, "hello", "nothing"]),
    state=st.sampled_from([None, None, State.SUCCEEDED, State.FAILED, State.WAITING]),
    caller=st.sampled_from([None, None, ADA, ANONYMOUS]),
    since=st.sampled_from([None, None, NOON + 3]),
    until=st.sampled_from([None, None, NOON + 18]),
    text=st.sampled_from([None, None, "%", "_", "aDA", "hello", "no such text"]),
    parent=st.sampled_from([None, None, PARENT]),
    owner=st.sampled_from([None, None, (TENANT, ADA), (ELSEWHERE, ADA)]),
)


SMALL = {"FIRST_WINDOW": 2, "LAST_WINDOW": 4, "MOST_CANDIDATES": 7}
"""Windows so small that a few runs fill several of them."""


@settings(deadline=None, max_examples=example_count(150))
@given(made=ROWS, filters=FILTERS, limit=st.integers(1, 6))
def test_pages_have_each_matching_run_once_and_in_order_while_new_ones_come(
    engine: Engine, made: list[dict[str, Any]], filters: RunFilter, limit: int
):
    rows = [run_row(number, **each) for number, each in enumerate(made)]
    numbers = count(len(rows))
    with engine.connect() as connection, pytest.MonkeyPatch.context() as patch:
        for name, size in SMALL.items():
            patch.setattr(queries, name, size)
        put(connection, *rows)
        found = all_pages(connection, filters, limit, lambda: put(connection, run_row(next(numbers))))
        connection.rollback()
    assert found == [row["id"] for row in reversed(rows) if matches(row, filters)]


def test_a_page_looks_at_a_bounded_number_of_runs_and_the_next_one_goes_on_there(connection: Connection):
    rows = [run_row(0, workflow="rare"), *(run_row(number) for number in range(1, 12_000))]
    put(connection, *rows)
    filters = RunFilter(text="rare")
    page = list_runs(connection, filters, clock=lambda: 0.0)
    assert page.items == ()
    assert opened(filters, str(page.next)) == id_number(12_000 - queries.MOST_CANDIDATES)
    following = list_runs(connection, filters, page.next, clock=lambda: 0.0)
    assert [record.id for record in following.items] == [rows[0]["id"]]
    assert following.next is None


def test_a_page_ends_when_it_has_taken_long(connection: Connection):
    put(connection, *(run_row(number) for number in range(200)))
    ticks = count()
    filters = RunFilter(text="nowhere")
    page = list_runs(connection, filters, clock=lambda: float(next(ticks)))
    assert opened(filters, str(page.next)) == id_number(200 - queries.FIRST_WINDOW)


def test_a_list_does_not_fetch_bodies(connection: Connection):
    put(connection, run_row(1))
    (record,) = list_runs(connection, RunFilter()).items
    assert (record.inputs, record.outputs, record.steps) == (None, None, ())
    assert {"inputs", "outputs", "request", "reply_headers"}.isdisjoint(column.name for column in queries.LISTED)


def test_a_run_is_found_whole_with_its_steps_in_order(connection: Connection):
    put(connection, run_row(1, error_type="Problem", error_shown=1))
    attempts = [Attempt(NOON, NOON + 1, "OSError"), Attempt(NOON + 2, NOON + 3)]
    for number, name in ((2, "second"), (1, "first")):
        row = {
            "run_id": id_number(1),
            "number": number,
            "name": name,
            "succeeded": 1,
            "attempts": json.dumps([(each.started_at, each.ended_at, each.error) for each in attempts]),
        }
        connection.execute(insert(schema.steps), row)
    record = find_run(connection, id_number(1))
    assert record is not None
    assert (record.state, record.inputs, record.error_shown) == (State.SUCCEEDED, '{"name": "Ada"}', True)
    assert record.steps == (Step(1, "first", True, attempts), Step(2, "second", True, attempts))
    assert find_run(connection, id_number(2)) is None


def test_a_requested_cancellation_is_recorded_the_first_time_only_and_while_it_runs(connection: Connection):
    put(connection, run_row(1, state="Running"), run_row(2))
    assert [
        request_cancel(connection, id_number(1), now, by) for now, by in ((5.0, '{"kind": "user"}'), (6.0, "{}"))
    ] == [True, True]
    assert [request_cancel(connection, id_number(number), 5.0, "{}") for number in (2, 3)] == [False, False]
    records = [find_run(connection, id_number(number)) for number in (1, 2)]
    assert [record.cancel_requested_at for record in records if record] == [5.0, None]
    assert [record.cancelled_by for record in records if record] == [{"kind": "user"}, None]


# Refusals


def refusal_row(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "id": id_number(number),
        "reason": "expiry",
        "code": "unauthenticated",
        "status": 401,
        "workflow": "payroll",
        "client_address": "192.0.2.7",
        "first_at": NOON + number,
        "last_at": NOON + number + 30,
        "count": 2,
        "request_ids": f"{id_number(number)} {id_number(number + 30)}",
        "claimed": None,
        "checks": '[{"name": "expiry", "passed": false, "expected": "", "found": ""}]',
    }
    return row | more


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (RefusalFilter(), [300, 200, 100]),
        (RefusalFilter(workflow="hello"), [200]),
        (RefusalFilter(reason="listed"), [100]),
        (RefusalFilter(address="198.51.100.1"), [300]),
        (RefusalFilter(since=NOON + 231), [300]),
        (RefusalFilter(since=NOON + 230, until=NOON + 299), [200]),
        (RefusalFilter(until=NOON + 99), []),
        (RefusalFilter(request_id=id_number(230)), [200]),
        (RefusalFilter(request_id=id_number(200)), [200]),
        (RefusalFilter(request_id=id_number(231)), []),
        (RefusalFilter(request_id="0123456789abcdef0123456789abcdef"), []),
        (RefusalFilter(workflow="payroll", reason="expiry", address="198.51.100.1"), [300]),
    ],
)
def test_refusals_are_filtered(connection: Connection, filters: RefusalFilter, numbers: list[int]):
    connection.execute(delete(schema.refusals))
    rows = [
        refusal_row(100, reason="listed"),
        refusal_row(200, workflow="hello", claimed='{"object_id": "x", "verified": true}'),
        refusal_row(300, client_address="198.51.100.1"),
    ]
    connection.execute(insert(schema.refusals), rows)
    found: list[str] = []
    cursor = None
    while True:
        page = list_refusals(connection, filters, cursor, 1)
        found += [record.id for record in page.items]
        if (cursor := page.next) is None:
            break
    assert found == [id_number(number) for number in numbers]


def test_a_refusal_is_read_in_its_parts(connection: Connection):
    connection.execute(insert(schema.refusals), refusal_row(1, claimed='{"object_id": "x"}'))
    (record,) = list_refusals(connection, RefusalFilter()).items
    assert (record.claimed, record.checks[0]["name"]) == ({"object_id": "x"}, "expiry")
    assert record.request_ids == (id_number(1), id_number(31))


# Cursors


def test_a_cursor_is_good_for_its_list_and_filters_only():
    filters = RunFilter(workflow="hello")
    cursor = sealed(filters, id_number(1))
    assert opened(filters, cursor) == id_number(1)
    others: list[RunFilter | RefusalFilter] = [
        RunFilter(),
        RunFilter(workflow="hello", owner=(TENANT, ADA)),
        RefusalFilter(workflow="hello"),
    ]
    for other in others:
        with pytest.raises(Problem) as caught:
            opened(other, cursor)
        assert caught.value.code == "bad-filter"


@settings(deadline=None, max_examples=example_count(50))
@given(text=st.text(st.characters(codec="ascii"), max_size=80))
def test_what_is_no_cursor_is_a_bad_filter(text: str):
    with pytest.raises(Problem) as caught:
        opened(RunFilter(), text)
    assert caught.value.code == "bad-filter"


# How the lists are read


EACH: dict[str, tuple[Any, ...]] = {
    "workflow": (None, "hello"),
    "state": (None, State.FAILED, State.SUCCEEDED),
    "caller": (None, ADA, ANONYMOUS),
    "since": (None, NOON),
    "text": (None, "x"),
    "parent": (None, PARENT),
    "owner": (None, (TENANT, ADA)),
}
INDEXES = {
    "parent_run_id": "runs_by_parent",
    "object_id": "runs_by_caller",
    "state": "runs_by_state",
    "workflow": "runs_by_workflow",
}


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A SQLite database with some runs."""
    engine = open_engine(f"sqlite:///{Path(tmp_path_factory.mktemp('plans')) / 'runs.db'}", writing=True)
    migrate(engine)
    with engine.connect() as connection:
        for number in range(2000):
            put(
                connection,
                run_row(
                    number,
                    object_id=(None, ADA, LISA)[number % 3],
                    state="Failed" if number % 10 == 0 else "Succeeded",
                    workflow=("hello", "payroll")[number % 2],
                    parent_run_id=id_number(number - number % 10) if number % 10 == 1 else None,
                ),
            )
        yield connection
        connection.rollback()
    engine.dispose()


def plan(connection: Connection, query: Select[Any]) -> list[str]:
    compiled = query.compile(connection.engine)
    values = tuple(compiled.params[name] for name in compiled.positiontup or ())
    return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]


@pytest.mark.slow
def test_no_combination_of_filters_sorts_or_goes_along_another_index_than_the_most_selective(sqlite: Connection):
    for values in product(*EACH.values()):
        filters = RunFilter(**dict(zip(EACH, values, strict=True)), until=values[3] and NOON + 60)
        way = way_of_runs(filters, "sqlite")
        index = INDEXES[way.lead.name] if way.lead is not None else "sqlite_autoindex_runs_1"
        bounded = bool(way.between(None, None))
        for query, covering, bound in (
            (queries.bottom_of_window(way, None, 64), True, bounded),
            (queries.bottom_of_window(way, id_number(900), 64), True, True),
            (queries.rows_of_window(way, queries.LISTED, None, None, 51), False, bounded),
            (queries.rows_of_window(way, queries.LISTED, id_number(900), id_number(800), 51), False, True),
        ):
            (step,) = plan(sqlite, query)
            begin = f"{'SEARCH' if bound else 'SCAN'} runs USING {'COVERING ' if covering else ''}INDEX {index}"
            assert step.split(" (")[0] == begin, (filters, step)


def test_the_most_selective_condition_leads():
    everything = RunFilter(workflow="hello", state=State.FAILED, caller=ADA, parent=PARENT)
    assert way_of_runs(everything, "sqlite").lead is schema.runs.c.parent_run_id
    assert way_of_runs(RunFilter(workflow="hello", state=State.FAILED, caller=ADA), "sqlite").lead is (
        schema.runs.c.object_id
    )
    assert way_of_runs(RunFilter(workflow="hello", state=State.FAILED), "sqlite").lead is schema.runs.c.state
    assert way_of_runs(RunFilter(workflow="hello", state=State.SUCCEEDED), "sqlite").lead is schema.runs.c.workflow
    assert way_of_runs(RunFilter(text="x"), "sqlite").lead is None


def test_a_run_that_a_finding_started_is_no_anonymous_callers(connection: Connection):
    put(connection, run_row(1), run_row(2, caller_kind="finding"))
    assert all_pages(connection, RunFilter(caller=ANONYMOUS), 9) == [id_number(1)]
