"""The databases that tests get."""

import psycopg
import pytest
from sqlalchemy import create_engine, func, insert, inspect, select, text

from postern.journal.schema import metadata, nodes
from tests.postgres import Databases
from tests.table import table


def test_each_test_has_an_empty_database_of_its_own(new_database_url):
    engine = create_engine(new_database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == []
        connection.execute(text("CREATE TABLE taken (id INTEGER)"))
        connection.execute(text("INSERT INTO taken VALUES (1)"))
        assert connection.execute(text("SELECT id FROM taken")).scalar_one() == 1
    engine.dispose()


def test_a_database_with_the_tables_has_nothing_in_them(database_url):
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
        for table in metadata.sorted_tables:
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
        connection.execute(insert(nodes), [{"id": "n", "machine": "m", "process": "p", "started_at": 0, "beat": 0}])
    engine.dispose()


test_the_next_has_nothing_in_them_either = test_a_database_with_the_tables_has_nothing_in_them
test_the_next_test_finds_nothing_of_the_one_before = test_each_test_has_an_empty_database_of_its_own


@pytest.fixture
def without_used_databases(postgres_databases: Databases) -> None:
    """One that many tests had may have grown so much that the next look deletes it."""
    postgres_databases.close()


@table(
    "change",
    [
        "ALTER TABLE nodes ADD COLUMN more TEXT",
        "ALTER TABLE nodes ALTER COLUMN machine SET DEFAULT 'm'",
        "ALTER TABLE nodes DROP COLUMN machine",
        "CREATE INDEX more ON nodes (machine)",
        "ALTER TABLE nodes ADD CONSTRAINT more CHECK (machine <> '')",
        "CREATE TABLE more ()",
        "CREATE SCHEMA more",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW more AS SELECT 1",
        "CREATE POLICY more ON nodes",
        "COMMENT ON TABLE nodes IS 'more'",
        "GRANT SELECT ON nodes TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "UPDATE alembic_version SET version_num = 'more'",
        "INSERT INTO nodes (id, machine, process, started_at, beat) VALUES ('n', 'm', 'p', 0, 0); ANALYZE nodes",
    ],
)
@pytest.mark.process
@pytest.mark.usefixtures("without_used_databases")
def test_no_test_gets_a_database_that_another_has_changed(postgres_databases: Databases, change: str):
    """One whose rows alone have changed is emptied, and the next test gets it."""
    urls = []
    for statement in ("DELETE FROM nodes", change, "SELECT 1"):
        with postgres_databases.one() as url, psycopg.connect(url, autocommit=True) as connection:
            urls.append(url)
            connection.execute(statement)
    assert urls[0] == urls[1] != urls[2]
