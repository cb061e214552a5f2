"""Recorded calls of runs: written with the next batch, and never twice."""

from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text

from postern.authoring.call_result import Call
from postern.errors import Problem
from postern.journal import migrations
from postern.journal.database.engine import migrate, open_engine
from postern.journal.database.revisions import HEAD
from postern.journal.schema import FIRST_REQUEST, calls
from postern.journal.writing.rows import MAX_NAME, call_row
from postern.journal.writing.statements import write_calls
from tests.journal.test_journal import ended, opened, started

CALL = Call(2, 1, "greet", 1.0, 2.0, "the-run", "https://other.example/runs/the-run", 200)
BARE = Call(1, None, "flow", 1.0, 1.5, error="ConnectionFault")
REQUEST = Call(FIRST_REQUEST, 1, "connections.erp", 1.0, 2.0, status=201, gateway="madrid", agent="madrid-1")
MORE = Call(FIRST_REQUEST + 1, None, "requests", 1.0, 2.0, gateway="madrid", requests=37)
BY_NOBODY = (None, None, None)


@pytest.mark.anyio
@pytest.mark.process
async def test_calls_are_on_record_with_the_end_of_their_run(database_url):
    async with opened(database_url) as journal:
        run = started()
        journal.begin(run)
        journal.note_call(run.id, BARE)
        journal.note_call(run.id, MORE)
        journal.note_call(run.id, REQUEST)
        journal.note_call(run.id, CALL)
        await journal.end(ended(run))
        found = await journal.read(lambda c: c.execute(select(calls).order_by(calls.c.number)).all())
    assert list(map(tuple, found)) == [
        (run.id, 1, None, "flow", None, None, None, 1.0, 1.5, "ConnectionFault", None, None, None),
        (run.id, 2, 1, "greet", "the-run", "https://other.example/runs/the-run", 200, 1.0, 2.0, None, *BY_NOBODY),
        (run.id, FIRST_REQUEST, 1, "connections.erp", None, None, 201, 1.0, 2.0, None, "madrid", "madrid-1", None),
        (run.id, FIRST_REQUEST + 1, None, "requests", None, None, None, 1.0, 2.0, None, "madrid", None, 37),
    ]


@pytest.mark.anyio
@pytest.mark.process
async def test_the_calls_of_a_run_that_is_under_way_do_not_wait_for_its_end(database_url):
    async with opened(database_url) as journal:
        run = started()
        journal.begin(run)
        journal.note_call(run.id, CALL)
        await journal.write(_nothing)
        assert len(await journal.read(lambda c: c.execute(select(calls)).all())) == 1


@pytest.mark.anyio
@pytest.mark.process
async def test_a_call_that_cannot_be_written_takes_no_other_with_it(database_url):
    async with opened(database_url) as journal:
        run = started()
        journal.begin(run)
        journal.note_call(run.id, Call(1, None, "greet", 1.0, status=2**70))
        journal.note_call(run.id, CALL)
        with pytest.raises(Problem):
            await journal.end(ended(run))
        found = await journal.read(lambda c: c.execute(select(calls.c.number)).scalars().all())
        assert (found, journal.available) == ([2], True)


def test_a_batch_that_is_repeated_writes_no_call_twice(database_url):
    engine = open_engine(database_url, writing=True)
    migrate(engine)
    for _ in range(2):
        with engine.begin() as connection:
            write_calls(connection, [call_row("run", CALL), call_row("run", BARE)])
    with engine.connect() as connection:
        assert len(connection.execute(select(calls)).all()) == 2
    engine.dispose()


def test_a_row_has_no_more_of_a_name_than_fits_and_nothing_that_postgresql_cannot_keep():
    row = call_row("run", Call(1, None, "\x00" + "x" * 999, 1.0, 2.0))
    assert row[3] == "\ufffd" + "x" * (MAX_NAME - 1)


def test_the_table_can_be_taken_back_and_made_again(database_url):
    """A program of before it can go on with the database."""
    from alembic import command
    from alembic.config import Config

    engine = open_engine(database_url, writing=True)
    migrate(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        assert "calls" not in inspect(connection).get_table_names()
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
        assert "calls" in inspect(connection).get_table_names()
    engine.dispose()


def _nothing(connection):
    """An operation that does nothing."""
