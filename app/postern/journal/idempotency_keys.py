"""The table of idempotency keys: a key is claimed for a run, holds its reply, and is released."""

import json
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import Connection, Insert, bindparam, delete, select, update

from postern.journal.body_form import Form
from postern.journal.inserts import insert_into
from postern.journal.schema import idempotency_keys as keys

KEPT_FOR = 24 * 3600.0
"""Seconds for which a key belongs to its run."""

KEY_BYTES = 1024
"""What a key without a reply counts for in the storage: about what its row and its places in indexes take."""

_AT_ONCE = 500

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The key is this run's own."""


@dataclass(frozen=True, slots=True)
class Running:
    """The run of this key has not ended."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run of this key has ended, with this reply."""

    run_id: str
    status: int
    headers: Headers = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class ReplyNotKept:
    """The run of this key has ended, and its reply was secured, too long, or had secrets in it."""

    run_id: str


Claim = Claimed | Running | Ended | Mismatch | ReplyNotKept


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored reply, as columns of the table; only `status` if `form` is secured, redacted or cut."""

    status: int
    form: Form
    headers: str | None = field(default=None, repr=False)
    content: str | None = field(default=None, repr=False)


def claim(
    connection: Connection,
    scope: str,
    fingerprint: str,
    run_id: str,
    now: float,
    workflow: str = "",
    holder: str = "",
    before: str = "",
    fresh_since: float | None = None,
) -> Claim:
    """Claim the key for this run, unless another run has it. Concurrent claims wait for each other's transaction, so
    exactly one gets the key. A repeated claim for the same run succeeds again. The key is stored as one of this holder
    at the workflow (see `journal.storage`). `before` is the fingerprint that an earlier release gave the same
    request. A key of before `fresh_since` is free, by default one that is KEPT_FOR old."""
    taken = {"scope": scope, "fingerprint": fingerprint, "run_id": run_id, "created_at": now}
    taken |= {"workflow": workflow, "holder": holder, "kept_bytes": KEY_BYTES}
    connection.execute(
        _taking(connection.dialect.name), taken | {"old": now - KEPT_FOR if fresh_since is None else fresh_since}
    )
    row = connection.execute(_FOUND, {"of": scope}).one()
    if row.run_id == run_id:
        return Claimed()
    if row.fingerprint not in (fingerprint, before or fingerprint):
        return Mismatch()
    if row.status is None:
        return Running(row.run_id)
    if row.reply_headers is None:
        return ReplyNotKept(row.run_id)
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(row.reply_headers))
    content = row.content or ""
    return Ended(
        row.run_id, row.status, headers, b64decode(content) if row.content_form == Form.BASE64 else content.encode()
    )


_FOUND = select(keys).where(keys.c.scope == bindparam("of"))

_SETTLED = (
    update(keys)
    .where(keys.c.scope == bindparam("of"), keys.c.run_id == bindparam("its"))
    .values({name: bindparam(name) for name in ("status", "reply_headers", "content", "content_form", "kept_bytes")})
)


@cache
def _taking(dialect: str) -> Insert:
    """The statement that claims a key, cached because building it costs more than executing it."""
    insert = insert_into(dialect, keys)
    given = ("scope", "fingerprint", "run_id", "created_at", "workflow", "holder", "kept_bytes")
    named = insert.values({name: bindparam(name) for name in given})
    fresh = {column.name: named.excluded[column.name] for column in keys.columns if column is not keys.c.scope}
    old = keys.c.created_at < bindparam("old")
    return named.on_conflict_do_update(index_elements=[keys.c.scope], set_=fresh, where=old)


def settle(connection: Connection, scope: str, run_id: str, kept: Kept) -> bool:
    """Store the reply of a run that has ended. Returns False, and nothing happens, if the key belongs to another run by
    now, or to none."""
    reply = {"status": kept.status, "reply_headers": kept.headers, "content": kept.content, "content_form": kept.form}
    reply["kept_bytes"] = KEY_BYTES + len((kept.headers or "").encode()) + len((kept.content or "").encode())
    return connection.execute(_SETTLED, {"of": scope, "its": run_id} | reply).rowcount > 0


def forget(connection: Connection, scope: str, run_id: str) -> None:
    """Release the key of a run that did not start."""
    connection.execute(delete(keys).where(keys.c.scope == scope, keys.c.run_id == run_id, keys.c.status.is_(None)))


def release(connection: Connection, scope: str, run_id: str) -> None:
    """Release the key of a run that was accepted, and is taken back: it has its reply already."""
    connection.execute(delete(keys).where(keys.c.scope == scope, keys.c.run_id == run_id))


def free(connection: Connection, run_ids: Iterable[str]) -> None:
    """Release the keys of runs that became Interrupted, so that their callers may try again."""
    ids = list(run_ids)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        connection.execute(delete(keys).where(keys.c.run_id.in_(some), keys.c.status.is_(None)))
