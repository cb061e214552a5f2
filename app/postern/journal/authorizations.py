"""The table of authorization requests: one is begun when a browser is sent to a provider, and taken once when the
browser comes back.

It has hashes only: of the `state` that the provider hands back, and of the secret that the browser keeps in a cookie.
So nobody who reads the database can finish another person's sign-in.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, select, update

from postern.browser_secrets import is_hash
from postern.journal.inserts import insert_into
from postern.journal.schema import authorizations

KEPT_FOR = 600.0
"""Seconds until an authorization that was not taken has expired."""

SWEPT = 20
"""Expired ones that are deleted whenever one is begun, so that the table holds little more than ten minutes of them."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """An authorization request. `kind` says what it is for, and `about` what of that kind; `created_at` is in Unix
    seconds."""

    state_hash: str
    browser_hash: str
    kind: str
    about: str
    created_at: float

    def __post_init__(self) -> None:
        if not is_hash(self.state_hash) or not is_hash(self.browser_hash):
            raise ValueError("an authorization is stored by hashes only")


class NotTaken(StrEnum):
    """Why an authorization was not taken, for the record. The browser is not told which."""

    UNKNOWN = "unknown"
    OTHER_BROWSER = "other-browser"
    EXPIRED = "expired"
    USED = "used"


def begin(connection: Connection, authorization: Authorization) -> None:
    """Store an authorization request. It may be repeated."""
    _delete(connection, authorization.created_at - KEPT_FOR, SWEPT)
    insert = insert_into(connection.dialect.name, authorizations)
    row = {
        "state_hash": authorization.state_hash,
        "browser_hash": authorization.browser_hash,
        "kind": authorization.kind,
        "about": authorization.about,
        "created_at": authorization.created_at,
    }
    connection.execute(insert.values(row).on_conflict_do_nothing(index_elements=[authorizations.c.state_hash]))


def look(connection: Connection, state_hash: str, browser_hash: str, kind: str, now: float) -> NotTaken | None:
    """Why the authorization of this state cannot be taken now; None if it can. It only reads: who sends any state gets
    no turn of the writer."""
    found = _find(connection, state_hash, kind)
    if found is None:
        return NotTaken.UNKNOWN
    if found.browser_hash != browser_hash:
        return NotTaken.OTHER_BROWSER
    if found.used_by is not None:
        return NotTaken.USED
    return None if found.created_at > now - KEPT_FOR else NotTaken.EXPIRED


def take(
    connection: Connection, state_hash: str, browser_hash: str, kind: str, request_id: str, now: float
) -> Authorization | NotTaken:
    """Take the authorization of this state for the request, once: concurrent requests wait for each other's
    transaction, so exactly one gets it. A repeated take by the same request succeeds again. One that another browser
    began is left to that browser."""
    table = authorizations.c
    connection.execute(
        update(authorizations)
        .where(table.state_hash == state_hash, table.browser_hash == browser_hash, table.kind == kind)
        .where(table.created_at > now - KEPT_FOR, table.used_by.is_(None))
        .values(used_by=request_id)
    )
    found = _find(connection, state_hash, kind)
    if found is None:
        return NotTaken.UNKNOWN
    if found.browser_hash != browser_hash:
        return NotTaken.OTHER_BROWSER
    if found.used_by is None:
        return NotTaken.EXPIRED
    if found.used_by != request_id:
        return NotTaken.USED
    return Authorization(found.state_hash, found.browser_hash, found.kind, found.about, found.created_at)


def delete_authorizations(connection: Connection, before: float, limit: int) -> int:
    """Delete up to `limit` authorizations that had expired before that moment, used ones too. Returns how many."""
    return _delete(connection, before - KEPT_FOR, limit)


def _find(connection: Connection, state_hash: str, kind: str) -> Any:
    table = authorizations.c
    query = select(authorizations).where(table.state_hash == state_hash, table.kind == kind)
    return connection.execute(query).one_or_none()


def _delete(connection: Connection, begun_before: float, limit: int) -> int:
    """Rows that another server process is deleting are skipped."""
    table = authorizations.c
    old = select(table.state_hash).where(table.created_at < begun_before).limit(limit)
    hashes = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    if hashes:
        connection.execute(delete(authorizations).where(table.state_hash.in_(hashes)))
    return len(hashes)
