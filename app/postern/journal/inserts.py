"""INSERT with ON CONFLICT, which each database has in its dialect."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.dialects import postgresql, sqlite

    Insert = sqlite.Insert | postgresql.Insert


def insert_into(dialect: str, table: Table) -> "Insert":
    """An INSERT for the dialect of a connection: `sqlite` or `postgresql`."""
    return _insert_of(dialect)(table)


@cache
def _insert_of(dialect: str) -> "Callable[[Table], Insert]":
    made: Callable[[Table], Insert] = import_module(f"sqlalchemy.dialects.{dialect}").insert  # loads the one in use
    return made
