"""Operations for tests of the journal, in a module of their own because the writer's process imports them."""

import os
from typing import Any

from sqlalchemy import Connection, text

from postern.journal.schema import runs


def execute(connection: Connection, statement: str) -> int:
    """How many rows it changed."""
    return connection.execute(text(statement)).rowcount


def scalar(connection: Connection, statement: str) -> Any:
    """The first value that it gives."""
    return connection.execute(text(statement)).scalar()


def delete_and_fail(connection: Connection) -> None:
    """Change something, then fail."""
    connection.execute(runs.delete())
    raise LookupError("no such thing")


def die(connection: Connection) -> None:
    """End the writer's process."""
    os._exit(1)
