"""What a restore leaves out of a backup: what has ended since then must not come back."""

from collections.abc import Collection
from time import time

from sqlalchemy import Connection, delete

from postern.journal.grant_upkeep import close_restored
from postern.journal.schema import authorizations, grants, invitations, metadata, sessions, signed_urls
from postern.journal.signed_urls import revoke_restored

ENDED = (sessions, authorizations, invitations)
"""Tables whose rows are left out: people sign in again, and operators make new links."""


def settle(connection: Connection, tables: Collection[str] = frozenset(metadata.tables)) -> None:
    """End all sessions, authorizations under way and invitations, close all grants, and revoke all signed URLs, of
    those `tables` that the backup has."""
    for table in ENDED:
        if table.name in tables:
            connection.execute(delete(table))
    if grants.name in tables:
        close_restored(connection, time())
    if signed_urls.name in tables:
        revoke_restored(connection, time())
