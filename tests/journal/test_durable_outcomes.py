"""Outcomes of durable runs, many in one batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event

from postern import anonymous, tenant_users, workflow
from postern.access import ANYONE, Caller
from postern.authoring.request import Request
from postern.journal.durable_outcomes import record_outcome
from postern.journal.durable_runs import Hold
from postern.journal.durable_tables import durable_runs
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import approvals, runs, signals
from postern.journal.writing.rows import facts
from postern.journal.writing.together import results
from tests.journal.engines import add, all_of
from tests.journal.test_durable_upkeep import durable_row, put

pytestmark = pytest.mark.slow

ADA = Caller("user", object_id="ada", tenant_id="t", name="Ada")
MINE = ("good", "kept", "sealed", "failed", "failed-at-3", "of-ada")
"""Runs of the process `a` in their first attempt, which all end otherwise."""
WITHOUT: dict[str, dict[str, Any]] = {
    "of-others": {"owner": "b"},
    "later": {"attempt": 2},
    "over": {"phase": "ended", "owner": None},
}
"""Runs that are not in its hands any more."""
TABLES = ((runs, "id"), (durable_runs, "run_id"), (signals, "run_id"), (approvals, "run_id"))


def ending(run_id: str, state: State = State.SUCCEEDED, caller: Caller = ANYONE, **more: Any) -> partial[bool]:
    access = anonymous() if caller is ANYONE else tenant_users()
    run = Run(run_id, workflow(access=access, name="hello")(hello), caller, Request("POST", "/"), 1.0, 60.0)
    run.outcome = Outcome(state, 200, b'"hello"')
    return partial(record_outcome, facts=facts(run), hold=Hold(run_id, "a", 1), **more)


async def hello(ctx) -> None: ...


ENDINGS = [
    ending("good"),
    ending("of-others"),
    ending("kept", reply=("whole", None)),
    ending("sealed", reply=("whole", "v1")),
    ending("later"),
    ending("failed", State.FAILED),
    ending("failed-at-3", State.FAILED, failed_step=3, reply=("whole", None)),
    ending("of-ada", caller=ADA),
    ending("over"),
    ending("good"),
]


def begin(engine: Engine, names: Sequence[str] = MINE) -> None:
    """Runs that have not ended, with what came for them."""
    with engine.begin() as connection:
        for table, _ in TABLES:
            connection.execute(delete(table))
    put(engine, *(durable_row(name, request="x" * 100) for name in names))
    for name in names:
        sent = {"id": "s", "name": "go", "sent_at": 1.0, "sent_by": "{}", "size": 2, "body": "{}"}
        add(engine, signals, {"run_id": name} | sent)
        asked = {"number": 0, "name": "ok", "workflow": "hello", "who": "{}", "barred": "[]", "elsewhere": 0}
        add(engine, approvals, {"run_id": name, "since": 1.0, "state": "waiting", "data": "{}"} | asked)


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that SQLAlchemy executes meanwhile."""
    found: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def recorded(engine: Engine, operations: Sequence[Callable[..., Any]], *, together: bool) -> tuple[list[bool], Any]:
    """What the operations return, and what is in the tables then."""
    begin(engine)
    for name, others in WITHOUT.items():
        put(engine, durable_row(name, **others))
    with engine.begin() as connection:
        if together:
            found = list(results(connection, operations, lambda: None))
        else:
            found = [operation(connection) for operation in operations]
    return found, [all_of(engine, *table) for table in TABLES]


def test_outcomes_of_one_batch_are_recorded_as_one_after_the_other(engine: Engine):
    found, rows = recorded(engine, ENDINGS, together=True)
    assert found == [True, False, True, True, False, True, True, True, False, False]
    assert (found, rows) == recorded(engine, ENDINGS, together=False)
    ended = {row["run_id"] for row in rows[1] if row["phase"] == "ended"}
    assert ended == {*MINE, "over"}


def test_many_outcomes_take_as_many_statements_as_one(engine: Engine):
    counts = []
    for count in (1, 40):
        names = [f"run-{number:02}" for number in range(count)]
        begin(engine, names)
        with statements(engine) as found, engine.begin() as connection:
            assert all(results(connection, [ending(name) for name in names], lambda: None))
        counts.append(len(found))
    assert counts[0] == counts[1]
