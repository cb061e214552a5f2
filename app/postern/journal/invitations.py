"""The table of invitations: links by which an operator asks a person to connect something. It has the hash of each
link's secret only."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from postern.browser_secrets import is_hash
from postern.journal.inserts import insert_into
from postern.journal.schema import invitations

KEPT_FOR = 4 * 3600.0
"""Seconds until an invitation that was not used has expired."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation. `owner` is the person that it is for, `created_by` the operator, both as "tenant/object";
    `created_at` is in Unix seconds, and `used_by` the request that used it, "" if none did."""

    hash: str
    connection: str
    owner: str
    created_by: str
    created_at: float
    used_by: str = ""

    def __post_init__(self) -> None:
        if not is_hash(self.hash):
            raise ValueError("an invitation is stored by the hash of its secret only")


def invite(connection: Connection, invitation: Invitation) -> None:
    """Store an invitation. It may be repeated."""
    insert = insert_into(connection.dialect.name, invitations)
    row = {column.name: getattr(invitation, column.name) for column in invitations.columns}
    row["used_by"] = invitation.used_by or None
    connection.execute(insert.values(row).on_conflict_do_nothing(index_elements=[invitations.c.hash]))


def look(connection: Connection, hash_: str, name: str, owner: str, now: float) -> Invitation | None:
    """The invitation, if it is for this connection and person, unused and not expired. It changes nothing."""
    row = connection.execute(select(invitations).where(*_open(hash_, name, owner, now))).one_or_none()
    return None if row is None else Invitation(**row._asdict() | {"used_by": ""})


def use(connection: Connection, hash_: str, name: str, owner: str, request_id: str, now: float) -> bool:
    """Use the invitation, once. Returns whether it is this request that used it, also if it is repeated. Concurrent
    requests wait for each other's transaction, so exactly one of them uses it."""
    connection.execute(update(invitations).where(*_open(hash_, name, owner, now)).values(used_by=request_id))
    used = select(invitations.c.used_by).where(*_for(hash_, name, owner))
    return connection.execute(used).scalar_one_or_none() == request_id


def delete_invitations(connection: Connection, before: float, limit: int) -> int:
    """Delete up to `limit` invitations that had expired before that moment, used ones too. Returns how many. Rows that
    another server process is deleting are skipped."""
    table = invitations.c
    old = select(table.hash).where(table.created_at < before - KEPT_FOR).limit(limit)
    hashes = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    if hashes:
        connection.execute(delete(invitations).where(table.hash.in_(hashes)))
    return len(hashes)


def _for(hash_: str, name: str, owner: str) -> tuple[Any, ...]:
    table = invitations.c
    return table.hash == hash_, table.connection == name, table.owner == owner


def _open(hash_: str, name: str, owner: str, now: float) -> tuple[Any, ...]:
    table = invitations.c
    return *_for(hash_, name, owner), table.used_by.is_(None), table.created_at > now - KEPT_FOR
