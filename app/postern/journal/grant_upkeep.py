"""What is done with all grants: sealing them with the newest key, and closing them after a restore."""

import json
from dataclasses import astuple
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, tuple_, update

from postern.journal.grants import HISTORY, Event, State
from postern.journal.schema import grants

RESTORED = "restored"
"""The code of what a restore leaves (`connections.grants.reasons`)."""

BATCH = 200
"""Rows that are read at once."""


class Sealed(NamedTuple):
    """The sealed tokens of a grant."""

    name: str
    owner: str
    sealed: str
    key_version: str

    def __repr__(self) -> str:
        return f"Sealed({self.name!r}, {self.owner!r}, key_version={self.key_version!r})"


def sealed_otherwise(connection: Connection, key_version: str, limit: int, after: tuple[str, str]) -> list[Sealed]:
    """Grants that another version of the key sealed, by connection and owner, from the one after `after`."""
    table = grants.c
    columns = (table.connection, table.owner, table.sealed, table.key_version)
    query = select(*columns).where(*_otherwise(key_version), tuple_(table.connection, table.owner) > tuple_(*after))
    rows = connection.execute(query.order_by(table.connection, table.owner).limit(limit))
    return [Sealed(*row) for row in rows]


def count_sealed_otherwise(connection: Connection, key_version: str) -> int:
    """How many they are."""
    found: int = connection.execute(
        select(func.count()).select_from(grants).where(*_otherwise(key_version))
    ).scalar_one()
    return found


def reseal(connection: Connection, former: Sealed, sealed: str, key_version: str) -> bool:
    """Replace the sealed tokens by the same ones, sealed anew, unless others were written meanwhile. Returns whether
    the row has them, also if that was before."""
    table = grants.c
    row = (table.connection == former.name, table.owner == former.owner)
    connection.execute(
        update(grants)
        .where(*row, table.sealed == former.sealed, table.key_version == former.key_version)
        .values(sealed=sealed, key_version=key_version)
    )
    return connection.execute(select(table.sealed).where(*row)).scalar_one_or_none() == sealed


def owners_of(connection: Connection, name: str) -> list[str]:
    """The owners of the grants of an entry."""
    query = select(grants.c.owner).where(grants.c.connection == name).order_by(grants.c.owner)
    return list(connection.execute(query).scalars())


def close_restored(connection: Connection, now: float) -> int:
    """Break every grant after a backup was restored, and leave its tokens out: refresh tokens have been replaced since,
    and a provider may end the whole grant if it sees a former one. What a person disconnected does not come back
    either. Returns how many they are. It may be repeated."""
    table = grants.c
    closed: dict[str, Any] = dict.fromkeys(
        ("attempt", "holder", "claims", "access_expires_at", "refresh_expires_at"), None
    )
    closed |= {"sealed": "", "key_version": "", "state": State.BROKEN.value, "reason": RESTORED}
    open_ones = select(table.connection, table.owner, table.history).where(table.sealed != "").limit(BATCH)
    total = 0
    while rows := connection.execute(open_ones).all():
        for name, owner, history in rows:
            events = [*json.loads(history), astuple(Event(now, "broken", reason=RESTORED))][-HISTORY:]
            row = (table.connection == name, table.owner == owner)
            connection.execute(update(grants).where(*row).values(history=json.dumps(events), **closed))
        total += len(rows)
    return total


def _otherwise(key_version: str) -> tuple[Any, ...]:
    """A grant after a restore has nothing that is sealed."""
    return grants.c.key_version != key_version, grants.c.sealed != ""
