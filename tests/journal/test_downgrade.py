"""Migrations taken back, and migrations that are interrupted by a kill."""

import signal
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from postern.errors import DatabaseFault
from postern.journal.database.downgrade import Loss, downgrade, losses, target, unended_runs
from postern.journal.database.engine import migrate, open_engine, revision_of
from postern.journal.database.revisions import HEAD, MIGRATIONS
from postern.journal.schema import calls, durable_runs, refusals, runs
from tests.process.commands import command
from tests.releases import NEWER, OF_0001, RUN, make_database, old_database, say, shape
from tests.table import table

pytestmark = pytest.mark.slow

CALL = {"run_id": RUN, "number": 1, "name": "book-desk", "started_at": 1.0, "ended_at": 2.0}

KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from postern.journal.database.downgrade import downgrade
from postern.journal.database.engine import migrate, open_engine

@event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

engine = open_engine(sys.argv[1], writing=True)
downgrade(engine, sys.argv[3]) if len(sys.argv) > 3 else migrate(engine)
"""


def killed(url: str, *arguments: str) -> None:
    """A process that migrates, and is killed when it has done a statement with this text."""
    assert command(Path.cwd(), url, *arguments, code=KILLED).returncode == -signal.SIGKILL


def test_back_at_the_first_migration_the_tables_are_as_its_program_made_them(new_database_url: str, tmp_path):
    old = old_database(new_database_url)
    engine = open_engine(new_database_url, writing=True)
    fresh = shape(engine)
    assert migrate(engine) == "0001"
    with engine.begin() as connection:
        connection.execute(insert(calls), [CALL, CALL | {"number": 2}])
        say(connection, OF_0001)
        lost = losses(connection, HEAD, "0001")
        assert [loss for loss in lost if loss.rows] == [Loss("0002", "calls", 2)]
        assert {loss.migration for loss in lost} == set(MIGRATIONS[1:])
    downgrade(engine, "0001")
    assert shape(engine) == fresh
    with engine.begin() as connection:
        assert revision_of(connection) == "0001"
        assert sorted(connection.execute(select(runs.c.id)).scalars()) == sorted([*old, RUN])
        assert connection.execute(select(func.count()).select_from(refusals)).scalar_one() == len(old) + 1
        say(connection, OF_0001, RUN.replace("0", "1"))
    assert migrate(engine) == "0001"
    with engine.connect() as connection:
        assert revision_of(connection) == HEAD
    engine.dispose()


@pytest.mark.process
def test_an_upgrade_that_was_killed_is_done_by_the_next_start(new_database_url: str):
    """After its last change of the tables, before the commit."""
    old = old_database(new_database_url)
    killed(new_database_url, "UPDATE alembic_version")
    engine = open_engine(new_database_url, writing=True)
    with engine.connect() as connection:
        assert revision_of(connection) == "0001"
    migrate(engine)
    with engine.connect() as connection:
        assert revision_of(connection) == HEAD
        assert connection.execute(select(func.count()).select_from(runs)).scalar_one() == len(old)
        assert connection.execute(select(func.count()).select_from(calls)).scalar_one() == 0
    engine.dispose()


@pytest.mark.process
def test_the_first_migration_that_was_killed_is_done_by_the_next_start(new_database_url: str):
    killed(new_database_url, "CREATE TABLE refusals")
    engine = open_engine(new_database_url, writing=True)
    assert migrate(engine) == ""
    engine.dispose()


@pytest.mark.process
def test_a_migration_that_was_killed_on_its_way_back_is_still_there(database_url: str):
    engine = open_engine(database_url, writing=True)
    with engine.begin() as connection:
        connection.execute(insert(calls), [CALL])
    killed(database_url, "DROP TABLE calls", "0001")
    with engine.connect() as connection:
        assert revision_of(connection) == HEAD
        assert connection.execute(select(func.count()).select_from(calls)).scalar_one() == 1
    engine.dispose()


def test_how_far_back_is_said_by_name_or_number_or_one_step():
    assert target("0002", None) == target("0002", "0001") == "0001"


@table(
    ("found", "to", "message"),
    [
        ("", None, "without tables"),
        ("0001", None, "first migration"),
        ("0001", "0001", "first migration"),
        ("0002", "0002", "--to 0001"),
        ("0002", "0003", "--to 0001"),
        ("0002", "x", "--to 0001"),
        (NEWER, None, "of a newer Postern"),
        ("9999", None, "made by a newer Postern"),
    ],
)
def test_what_cannot_be_gone_back_to_is_said(found: str, to: str | None, message: str):
    with pytest.raises(DatabaseFault, match=message):
        target(found, to)


def test_every_migration_can_be_gone_back_to(new_database_url: str):
    """One after the other; all of them at once are another test's."""
    engine = open_engine(new_database_url, writing=True)
    fresh = {}
    for migration in MIGRATIONS:
        make_database(new_database_url, migration)
        fresh[migration] = shape(engine)
    for migration in reversed(MIGRATIONS[:-1]):
        downgrade(engine, migration)
        assert shape(engine) == fresh[migration], migration
    migrate(engine)
    assert shape(engine) == fresh[HEAD]
    engine.dispose()


def test_losses_are_said_in_words():
    words = [str(Loss("0002", "calls", n)) for n in (0, 1, 1234)] + [str(Loss("0003", "runs.colour", 2))]
    assert words == [
        "table calls of migration 0002, with no rows",
        "table calls of migration 0002, with 1 row",
        "table calls of migration 0002, with 1,234 rows",
        "column runs.colour of migration 0003, with 2 rows",
    ]


def test_durable_runs_that_have_not_ended_are_counted_where_their_table_is_lost(new_database_url: str):
    engine = open_engine(new_database_url, writing=True)
    migrate(engine)
    of = {"workflow": "a", "attempt": 1, "deaths": 0, "digest": "d"}
    with engine.begin() as connection:
        rows = [{**of, "run_id": phase, "phase": phase} for phase in ("ready", "waiting", "parked", "ended")]
        connection.execute(insert(durable_runs), rows)
        before = MIGRATIONS[MIGRATIONS.index("0011_for_0002") - 1]
        assert unended_runs(connection, losses(connection, HEAD, before)) == 3
        assert unended_runs(connection, []) == 0
    engine.dispose()
