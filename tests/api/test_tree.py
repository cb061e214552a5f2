"""The chain of a run as a tree: how it is put together, and who sees what of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert

from postern.journal.database.engine import migrate, open_engine
from postern.journal.reading.call_tree import Tree, find_tree
from postern.journal.reading.queries import find_run
from postern.journal.schema import calls
from postern.local_tenant import LocalTenant
from tests.api.installations import ADAS_RUN, ANONYMOUS_RUN, LISAS_RUN, UNKNOWN, RunApi, open_run_api
from tests.journal.recorded import NOON, id_number, put, run_row

pytestmark = pytest.mark.slow

ELSEWHERE = f"https://other.example/runs/{id_number(70)}"


def call_row(run: int, number: int, child: int | None = None, **more: Any) -> dict[str, Any]:
    """The row of a call of the run with the number `run` to that with the number `child`."""
    row = {
        "run_id": id_number(run),
        "number": number,
        "step": None,
        "name": f"call-{run}-{number}",
        "child_run_id": id_number(child) if child else None,
        "url": None,
        "status": 200,
        "started_at": NOON,
        "ended_at": NOON + 1,
        "error_type": None,
    }
    return row | more


def put_calls(connection: Connection, *rows: dict[str, Any]) -> None:
    connection.execute(insert(calls), list(rows))


@pytest.fixture
def engine(database_url: str) -> Any:
    made = open_engine(database_url, writing=True)
    migrate(made)
    yield made
    made.dispose()


def shape(tree: Tree, run_id: str | None = None) -> Any:
    """The tree as numbers of runs, and names of calls that have none."""
    return [
        (int(branch.run.id[-12:], 16), shape(tree, branch.run.id)) if branch.run else branch.call and branch.call.name
        for branch in tree.branches.get(run_id or tree.root.id, ())
    ]


def tree_of(engine: Engine, number: int, **bounds: int) -> Tree:
    with engine.begin() as connection:
        found = find_tree(connection, id_number(number), **bounds)
    assert found is not None
    return found


def test_a_tree_has_calls_in_order_then_runs_whose_calls_are_not_on_record(engine: Engine):
    with engine.begin() as connection:
        put(connection, run_row(1), *(run_row(n, parent_run_id=id_number(1)) for n in (2, 3, 4)), run_row(5))
        put(connection, run_row(6, parent_run_id=id_number(3)), run_row(9))
        put_calls(
            connection,
            call_row(1, 1, 3),
            call_row(1, 2, None, url="https://flow.example", status=502, error_type="CallError"),
            call_row(1, 3, 2),
            call_row(1, 4, 3),  # the same call once more, by its key
            call_row(3, 1, 5),  # its run does not say who called
            call_row(1, 5, 9, url="https://other.example/runs"),  # another server may say any id
        )
    found = tree_of(engine, 1)
    assert shape(found) == [(3, [(5, []), (6, [])]), "call-1-2", (2, []), "call-1-4", "call-1-5", (4, [])]
    assert not found.truncated


def test_runs_that_name_each_other_are_no_endless_tree(engine: Engine):
    """Parents of anonymous runs are claims."""
    with engine.begin() as connection:
        put(connection, run_row(1, parent_run_id=id_number(2)), run_row(2, parent_run_id=id_number(1)))
        put(connection, run_row(3, parent_run_id=id_number(3)))
    assert shape(tree_of(engine, 1)) == [(2, [])]
    assert shape(tree_of(engine, 3)) == []


def test_a_tree_is_bounded_in_depth_and_in_number(engine: Engine):
    with engine.begin() as connection:
        put(connection, *(run_row(n, parent_run_id=id_number(n - 1)) for n in range(2, 20)), run_row(1))
        put(connection, run_row(30), *(run_row(n, parent_run_id=id_number(30)) for n in range(31, 37)))
        put_calls(connection, *(call_row(30, n, 30 + n) for n in range(1, 7)))
    deep = tree_of(engine, 1)
    assert (len(deep.branches), deep.truncated) == (16, True)
    assert not tree_of(engine, 4).truncated
    wide = tree_of(engine, 30, most=4)
    assert (shape(wide), wide.truncated) == ([(31, []), (32, []), (33, []), (34, [])], True)
    assert not tree_of(engine, 30, most=6).truncated


def test_a_run_that_is_not_there_has_no_tree(engine: Engine):
    with engine.begin() as connection:
        assert find_tree(connection, UNKNOWN) is None


def test_a_record_has_its_calls_in_order_and_whether_their_runs_are_guarded(engine: Engine):
    with engine.begin() as connection:
        put(connection, run_row(1), run_row(2), run_row(3, object_id="o"))
        put_calls(
            connection,
            call_row(1, 2, 3, step=4),
            call_row(1, 1, 2),
            call_row(1, 3, 70, url=ELSEWHERE),
            call_row(1, 4, 70, url="https://open.example"),
            call_row(1, 5, 71),
        )
        record = find_run(connection, id_number(1))
    assert record is not None
    assert [(call.number, call.step, call.guarded) for call in record.calls] == [
        (1, None, False),
        (2, 4, True),
        (3, None, True),
        (4, None, False),
        (5, None, False),
    ]


# Who sees what


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """A run of ada's calls an anonymous one and one of lisa's, which calls elsewhere; an anonymous one calls lisa's."""
    async with open_run_api(tmp_path, local_tenant) as found:
        with found.engine.begin() as connection:
            put(connection, run_row(10, parent_run_id=ADAS_RUN))
            put_calls(
                connection,
                call_row(2, 1, 10, name="open"),
                call_row(2, 2, 3, name="guarded"),
                call_row(2, 3, 70, name="there", url=ELSEWHERE, status=None, error_type="CallError"),
                call_row(1, 1, 3, name="guarded"),
                call_row(1, 2, 10, name="open"),
            )
        yield found


@pytest.mark.anyio
async def test_an_operator_sees_the_runs_behind_the_calls_of_a_run(run_api: RunApi):
    tree = (await run_api.get(f"/runs/{ADAS_RUN}/tree", "operator")).json()
    assert set(tree) == {"id", "workflow", "state", "started_at", "duration_ms", "calls"}
    opened, guarded, there = tree["calls"]
    assert (opened["name"], opened["run"]["id"], guarded["run"]["workflow"]) == ("open", id_number(10), "payroll")
    assert there == {"name": "there", "status": None, "error": "CallError", "url": ELSEWHERE}
    record = (await run_api.get(f"/runs/{ADAS_RUN}", "operator")).json()
    assert [call["run_id"] for call in record["calls"]] == [id_number(10), LISAS_RUN, id_number(70)]


@pytest.mark.anyio
async def test_an_owner_sees_names_and_statuses_and_no_id_that_opens_a_run(run_api: RunApi):
    answer = await run_api.get(f"/runs/{ADAS_RUN}/tree", "ada")
    assert [(call["name"], call["status"], "run" in call) for call in answer.json()["calls"]] == [
        ("open", 200, False),
        ("guarded", 200, False),
        ("there", None, False),
    ]
    record = await run_api.get(f"/runs/{ADAS_RUN}", "ada")
    assert [call["run_id"] for call in record.json()["calls"]] == [None, LISAS_RUN, id_number(70)]
    members = {"name", "run_id", "url", "status", "started_at", "ended_at", "error", "gateway", "agent", "requests"}
    assert set(record.json()["calls"][0]) == members
    assert id_number(10) not in answer.text + record.text


@pytest.mark.anyio
@pytest.mark.parametrize(("who", "sees"), [("", False), ("garbage", False), ("ada", False), ("operator", True)])
async def test_who_knows_the_id_of_an_anonymous_run_sees_no_other_by_it(run_api: RunApi, who: str, sees: bool):
    tree = await run_api.get(f"/runs/{ANONYMOUS_RUN}/tree", who)
    record = await run_api.get(f"/runs/{ANONYMOUS_RUN}", who)
    assert (tree.status_code, record.status_code) == (200, 200)
    assert [("run" in call) for call in tree.json()["calls"]] == [sees, sees]
    assert [call["run_id"] for call in record.json()["calls"]] == [LISAS_RUN, id_number(10) if sees else None]
    assert (id_number(10) in tree.text + record.text) is sees


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "who", "status"), [(LISAS_RUN, "ada", 404), (UNKNOWN, "operator", 404), ("x", "", 404)]
)
async def test_a_tree_is_for_who_may_see_its_run(run_api: RunApi, path: str, who: str, status: int):
    answer = await run_api.get(f"/runs/{path}/tree", who)
    assert (answer.status_code, answer.json()["code"]) == (status, "unknown-run")


@pytest.mark.anyio
async def test_a_tree_takes_no_parameters(run_api: RunApi):
    assert (await run_api.get(f"/runs/{ANONYMOUS_RUN}/tree?depth=3")).status_code == 400
