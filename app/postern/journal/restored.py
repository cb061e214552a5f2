"""What a restore leaves out of a backup: what has ended since then must not come back."""

from collections.abc import Collection
from time import time

from sqlalchemy import Connection, delete

from postern.journal.grant_upkeep import close_restored
from postern.journal.known_callers import forget_before
from postern.journal.schema import authorizations, grants, invitations, known_callers, metadata, sessions

ENDED = (sessions, authorizations, invitations)
"""Tables whose rows are left out: people sign in again, and operators make new links."""


def settle(connection: Connection, tables: Collection[str] = frozenset(metadata.tables)) -> None:
    """End all sessions, authorizations under way and invitations, and close all grants, of those `tables` that the
    backup has. What callers used since the backup is not known."""
    for table in ENDED:
        if table.name in tables:
            connection.execute(delete(table))
    if grants.name in tables:
        close_restored(connection, time())
    if known_callers.name in tables:
        forget_before(connection, time())
