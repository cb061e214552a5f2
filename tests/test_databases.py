"""The databases that tests are given."""

from sqlalchemy import create_engine, inspect, text


def test_each_test_has_an_empty_database_of_its_own(database_url):
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == []
        connection.execute(text("CREATE TABLE taken (id INTEGER)"))
        connection.execute(text("INSERT INTO taken VALUES (1)"))
        assert connection.execute(text("SELECT id FROM taken")).scalar_one() == 1
    engine.dispose()


test_the_next_test_finds_nothing_of_the_one_before = test_each_test_has_an_empty_database_of_its_own
