"""Claims of singletons in the journal: whose they are, and when they are free."""

import pytest
from sqlalchemy import Connection, Engine, delete, insert, update

from postern.authoring.concurrency import LONGEST_SINGLETON
from postern.journal.process_identity import this_machine
from postern.journal.schema import nodes, runs
from postern.journal.server_processes import ServerProcess, beat, interrupt
from postern.journal.singletons import claim_singleton, free_singleton
from tests.journal.recorded import run_row

NOW = 1_800_000_000.0
HERE = ServerProcess("here", this_machine(), "1", NOW)


def claim(connection: Connection, run_id: str, *, scope: str = "scope", at: float = NOW) -> bool:
    return claim_singleton(connection, scope, run_id, "orders", at)


def record(connection: Connection, number: int, node: str) -> str:
    """A run that is in progress in this server process. Returns its id."""
    row = run_row(number, state="Running", status=None, ended_at=None, node=node)
    connection.execute(insert(runs).values(row))
    return str(row["id"])


def test_the_first_run_has_it_until_it_is_freed(engine: Engine) -> None:
    with engine.begin() as connection:
        assert [claim(connection, "run-1"), claim(connection, "run-1"), claim(connection, "run-2")] == [
            True,
            True,
            False,
        ]
        assert claim(connection, "run-2", scope="another")
        free_singleton(connection, "scope", "run-2")  # it is not its own
        assert not claim(connection, "run-2")
        free_singleton(connection, "scope", "run-1")
        assert claim(connection, "run-2")


def test_of_two_server_processes_one_has_it(engine: Engine) -> None:
    with engine.begin() as one:
        assert claim(one, "run-1")
    with engine.begin() as other:
        assert not claim(other, "run-2")


def test_it_is_free_when_the_run_of_a_dead_server_process_is_interrupted(engine: Engine) -> None:
    with engine.begin() as connection:
        beat(connection, HERE)
        run_id = record(connection, 1, "here")
        assert claim(connection, run_id)
        assert not claim(connection, "run-2")
        assert interrupt(connection, "here", NOW, seen=0) == [run_id]
        assert claim(connection, "run-2")


@pytest.mark.parametrize(("lives", "free"), [(True, False), (False, True)])
def test_code_that_goes_on_after_its_run_has_it_as_long_as_its_process_lives(
    engine: Engine, lives: bool, free: bool
) -> None:
    with engine.begin() as connection:
        beat(connection, HERE)
        run_id = record(connection, 1, "here")
        assert claim(connection, run_id)
        connection.execute(update(runs).where(runs.c.id == run_id).values(state="TimedOut", ended_at=NOW))
        if not lives:
            connection.execute(delete(nodes).where(nodes.c.id == "here"))
        assert claim(connection, "run-2") is free


def test_a_clock_that_is_wrong_frees_no_claim(engine: Engine) -> None:
    with engine.begin() as connection:
        assert claim(connection, "run-1")
        assert not claim(connection, "run-2", at=NOW + 2 * LONGEST_SINGLETON)
