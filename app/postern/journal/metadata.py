"""What all tables of the journal belong to, and how their indexes are named."""

from typing import Any

from sqlalchemy import Column, Connection, Index, MetaData, TextClause, event

metadata = MetaData(
    naming_convention={"ix": "%(table_name)s_by_%(column_0_N_name)s", "pk": "%(table_name)s_key"},
)
"""The tables of the journal."""


def partial_index(name: str, *columns: Column[Any], where: TextClause) -> Index:
    """An index of the rows that fit a condition. It is kept without the options of dialects (`sqlite_where`): to check
    those, SQLAlchemy loads every dialect that they name, and a process uses one."""
    return Index(name, *columns, info={"where": where})


def condition_of(index: Index) -> str | None:
    """The condition of an index, in SQL; None if it has all rows."""
    return None if (where := index.info.get("where")) is None else str(where)


@event.listens_for(metadata, "before_create")
def _with_conditions(made: MetaData, connection: Connection, **_: object) -> None:
    """Give the indexes their conditions in the dialect of the database in which the tables are made."""
    for table in made.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info["where"]
