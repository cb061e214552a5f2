"""The statements of batches: few of them stay prepared, however many rows the batches have."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from postern.journal.database.engine import MAX_PREPARED
from postern.journal.schema import runs
from postern.journal.writing import statements
from postern.journal.writing.batch import Batch, write_batch
from postern.journal.writing.rows import COLUMNS
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
