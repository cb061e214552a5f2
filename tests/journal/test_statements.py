"""The statements of batches: few of them stay prepared, however many rows the batches have."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from postern.journal.database.engine import MAX_PREPARED
from postern.journal.schema import runs
from postern.journal.writing import statements
from postern.journal.writing.batch import Batch, is_passing, write_batch
from postern.journal.writing.rows import COLUMNS
from postern.journal.writing.statements import Row, write_alone
from tests.databases import make_tables
from tests.journal.engines import empty_journal, run_row

pytestmark = pytest.mark.slow

MOST_PARAMETERS = 5_000
"""Of all statements that stay prepared for batches of rows with the same columns in use. SQLite needs about 150 bytes
for each."""


def test_batches_of_any_size_are_written_whole_and_need_few_prepared_statements(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'postern.db'}"
    make_tables(url)
    engine = empty_journal(url)
    statements._sqlite_statement.cache_clear()
    prepared: set[str] = set()
    make = statements._for_sqlite

    def noted(*arguments):
        statement, values = make(*arguments)
        prepared.add(statement)
        return statement, values

    count = 0
    with pytest.MonkeyPatch.context() as patch, engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA synchronous=OFF")  # the disk is not tested
        patch.setattr(statements, "_for_sqlite", noted)
        for size in (*range(1, 40), 63, 64, 65, 139):
            rows = [run_row(f"{count + number:06}") for number in range(size)]
            count += size
            write_batch(connection, Batch([[row.get(name) for name in COLUMNS] for row in rows], [], []))
        assert connection.execute(select(func.count()).select_from(runs)).scalar_one() == count
    engine.dispose()
    assert len(prepared) < MAX_PREPARED / 4
    assert sum(statement.count("?") for statement in prepared) < MOST_PARAMETERS


def row(run_id: str) -> Row:
    made = run_row(run_id)
    return [made.get(name) for name in COLUMNS]


def recorded(engine: Engine) -> list[str]:
    with engine.connect() as another:
        return list(another.execute(select(runs.c.id).order_by(runs.c.id)).scalars())


def take_back_another(connection: Connection) -> None:
    with connection.begin() as transaction:
        statements.write_runs(connection, [row("another")])
        transaction.rollback()


def test_runs_alone_are_committed_by_their_statement_and_the_next_transaction_is_one(database_url: str):
    engine = empty_journal(database_url)
    with engine.connect() as connection:
        assert write_alone(connection, [row("a"), row("b")])
        assert recorded(engine) == ["a", "b"]
        take_back_another(connection)
        assert recorded(engine) == ["a", "b"]
    engine.dispose()


def test_a_row_that_the_database_refuses_is_lost_alone_and_leaves_the_connection_as_it_was(database_url: str):
    engine = empty_journal(database_url)
    wrong = [None if name == "workflow" else value for name, value in zip(COLUMNS, row("b"), strict=True)]
    batch = Batch([row("a"), wrong, row("c")], [], [])
    with engine.connect() as connection:
        write_batch(connection, batch)
        assert list(batch.lost) == ["b"]
        assert recorded(engine) == ["a", "c"]
        take_back_another(connection)
    assert recorded(engine) == ["a", "c"]
    engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_session_that_postgresql_has_ended_fails_as_one_that_may_be_back(database_url: str):
    engine = empty_journal(database_url)
    with engine.connect() as connection:
        own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.rollback()
        with engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})
        for _ in range(2):  # the driver sees it at the first attempt
            with pytest.raises(Exception) as raised:  # noqa: PT011 the driver's own error, or SQLAlchemy's
                write_batch(connection, Batch([row("a")], [], []))
            assert is_passing(raised.value)
        connection.invalidate()
    assert recorded(engine) == []
    engine.dispose()
