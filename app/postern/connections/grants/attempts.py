"""What is read and written of a grant around one refresh. Each function is one transaction of the journal."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection

from postern.journal import grants
from postern.journal.grants import Grant
from postern.journal.process_identity import this_machine
from postern.journal.server_processes import beat_again, is_known_gone

_T = TypeVar("_T")


class Write(Protocol):
    """`Journal.write`: `undo` runs if the operation was committed after its caller got an error."""

    def __call__(
        self, operation: Callable[[Connection], _T], undo: Callable[[Connection], object] | None = None, /
    ) -> Awaitable[_T]: ...


class Look(NamedTuple):
    """A grant, None if there is none, and whether the holder of its attempt is known to be gone."""

    grant: Grant | None
    holder_gone: bool


def look(connection: Connection, name: str, owner: str) -> Look:
    """Read the grant."""
    grant = grants.find(connection, name, owner)
    if grant is None or not grant.attempt:
        return Look(grant, holder_gone=False)
    return Look(grant, is_known_gone(connection, grant.holder, this_machine()))


def take(connection: Connection, name: str, owner: str, generation: int, before: str, attempt: str, node: str) -> bool:
    """Take the grant, if this server process has its row in `nodes`: a holder without a row is gone."""
    return beat_again(connection, node) and grants.take(connection, name, owner, generation, before, attempt, node)
