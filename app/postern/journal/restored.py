"""What a restore leaves out of a backup, and what it takes over from the database that it replaces: what has ended
since then must not come back."""

from collections.abc import Collection, Iterable
from time import time
from typing import Any

from sqlalchemy import Connection, delete, insert, inspect, select

from postern.journal.durable_restored import park_restored
from postern.journal.grant_upkeep import close_restored
from postern.journal.known_callers import forget_before
from postern.journal.schema import (
    authorizations,
    durable_runs,
    grants,
    invitations,
    known_callers,
    metadata,
    revocations,
    sessions,
    signed_urls,
)
from postern.journal.signed_urls import revoke_restored

ENDED = (sessions, authorizations, invitations)
"""Tables whose rows are left out: people sign in again, and operators make new links."""


def settle(connection: Connection, tables: Collection[str] = frozenset(metadata.tables)) -> None:
    """End all sessions, authorizations under way and invitations, close all grants, park all durable runs that have not
    ended, and revoke all signed URLs, of those `tables` that the backup has. What callers used and what runs did since
    the backup is not known."""
    for table in ENDED:
        if table.name in tables:
            connection.execute(delete(table))
    if grants.name in tables:
        close_restored(connection, time())
    if durable_runs.name in tables:
        park_restored(connection)
    if signed_urls.name in tables:
        revoke_restored(connection, time())
    if known_callers.name in tables:
        forget_before(connection, time())


def revocations_in(connection: Connection) -> list[dict[str, Any]]:
    """The rows of the revocations of a database, which may be of an earlier release, and have none."""
    if not inspect(connection).has_table(revocations.name):
        return []
    return [dict(row) for row in connection.execute(select(revocations)).mappings()]


def take_over(connection: Connection, rows: Iterable[dict[str, Any]]) -> int:
    """Add the revocations of the database that was replaced to the restored one, where they count in place of an older
    state of the same ones. Returns how many. It may be repeated."""
    taken = list(rows)
    for row in taken:
        connection.execute(delete(revocations).where(revocations.c.id == row["id"]))
    if taken:
        connection.execute(insert(revocations), taken)
    return len(taken)
