"""The databases that tests get."""

from sqlalchemy import create_engine, func, insert, inspect, select, text

from postern.journal.schema import metadata, nodes


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
