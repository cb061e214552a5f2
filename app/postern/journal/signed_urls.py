"""The table of signed URLs: which were made, by whom, until when, and how often each was used. No row has a signature
or a value that a URL fixes, so that a person who reads the table or a backup cannot use one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, or_, select, tuple_, update

from postern.journal.inserts import insert_into
from postern.journal.schema import signed_urls

MOST_LISTED = 500
"""Rows that are listed at once."""

RESTORED = json.dumps({"kind": "restore", "object_id": None, "client_id": None, "name": None})
"""Who revoked what a restore brought back, in the form of `journal.run.actor`."""


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A row. Times are in Unix seconds. `fixed` are the names of the parameters that it fixes. `expires_at` is None for
    never, `revoked_at` None if it is not revoked."""

    workflow: str
    id: str
    key: str
    path: str | None
    fixed: tuple[str, ...]
    made_by: str
    made_at: float
    expires_at: float | None = None
    revoked_by: str | None = None
    revoked_at: float | None = None
    uses: int = 0
    used_at: float | None = None


class Use(NamedTuple):
    """Requests that came with one signed URL: how many, and when the last one did."""

    workflow: str
    id: str
    times: int
    at: float


def make(connection: Connection, made: SignedUrl) -> bool:
    """Store a new one. False if the workflow has one of this id; one whose URL could still be used keeps its id for
    ever. It may be repeated."""
    insert = insert_into(connection.dialect.name, signed_urls)
    row = {column.name: getattr(made, column.name) for column in signed_urls.columns} | {
        "fixed": json.dumps(made.fixed)
    }
    keys = [signed_urls.c.workflow, signed_urls.c.id]
    connection.execute(insert.values(row).on_conflict_do_nothing(index_elements=keys))
    found = find(connection, made.workflow, made.id)
    return found is not None and (found.made_at, found.made_by) == (made.made_at, made.made_by)


def find(connection: Connection, workflow: str, id: str) -> SignedUrl | None:  # noqa: A002 the column's name
    """The one of this id; None if there is none."""
    row = connection.execute(select(signed_urls).where(*_of(workflow, id))).one_or_none()
    return None if row is None else _signed_url(row)


def listed(
    connection: Connection, workflow: str = "", limit: int = MOST_LISTED, after: tuple[str, str] | None = None
) -> list[SignedUrl]:
    """Those of a workflow, or all with "", by workflow and id, from the one after `after` on."""
    table = signed_urls.c
    query = select(signed_urls)
    if workflow:
        query = query.where(table.workflow == workflow)
    if after is not None:
        query = query.where(tuple_(table.workflow, table.id) > tuple_(*after))
    rows = connection.execute(query.order_by(table.workflow, table.id).limit(limit))
    return [_signed_url(row) for row in rows]


def revoke(connection: Connection, workflow: str, id: str, by: str, now: float) -> SignedUrl | None:  # noqa: A002
    """Revoke it. Returns it as it is then, None if there is none. One that is revoked stays as it is."""
    open_one = (*_of(workflow, id), signed_urls.c.revoked_at.is_(None))
    connection.execute(update(signed_urls).where(*open_one).values(revoked_by=by, revoked_at=now))
    return find(connection, workflow, id)


def note_uses(connection: Connection, uses: Iterable[Use]) -> None:
    """Count uses. A repetition with the same time counts nothing, because an acknowledgement may be lost."""
    table = signed_urls.c
    for use in uses:
        new = or_(table.used_at.is_(None), table.used_at != use.at)
        counted = update(signed_urls).where(*_of(use.workflow, use.id), new)
        connection.execute(counted.values(uses=table.uses + use.times, used_at=use.at))


def revoke_restored(connection: Connection, now: float) -> None:
    """Revoke all, as those of a backup: some of them may have been revoked after it was made."""
    left = signed_urls.c.revoked_at.is_(None)
    connection.execute(update(signed_urls).where(left).values(revoked_by=RESTORED, revoked_at=now))


def delete_signed_urls(connection: Connection, before: float, limit: int) -> int:
    """Delete up to `limit` that had expired before that moment. Returns how many. One without an expiry stays, so that
    its id is not given to another URL: the former one would be accepted again."""
    table = signed_urls.c
    old = select(table.workflow, table.id).where(table.expires_at < before).limit(limit)
    keys = [tuple(row) for row in connection.execute(old.with_for_update(skip_locked=True))]
    if keys:
        connection.execute(delete(signed_urls).where(tuple_(table.workflow, table.id).in_(keys)))
    return len(keys)


def _of(workflow: str, id: str) -> tuple[Any, ...]:  # noqa: A002
    return signed_urls.c.workflow == workflow, signed_urls.c.id == id


def _signed_url(row: Row[Any]) -> SignedUrl:
    values: Mapping[str, Any] = row._asdict()
    return SignedUrl(**{**values, "fixed": tuple(json.loads(values["fixed"]))})
