"""The table of grants: what people allowed this server to do for them elsewhere, one row for each connection and owner.

The tokens in it are sealed (`connections.grants.seal`): a person who reads the database or a backup cannot use them.
"""

import json
from dataclasses import asdict, astuple, dataclass, field, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from postern.journal.inserts import insert_into
from postern.journal.schema import grants
from postern.plain_text import plain

SHARED = ""
"""The owner of a shared connection's grant."""

HISTORY = 20
"""Events that a grant keeps."""

LONGEST = {"sealed": 256 * 1024, "claims": 8192, "scopes": 16 * 1024, "instance_url": 2048}
"""Characters that a column may have. A claims challenge that is longer is left out, because a part of it has no use."""

LONGEST_TEXT = 512
"""Characters of the other columns. A name for showing is cut to it."""

MOST_OF_OWNER = 500
"""Grants of one owner that are read at most."""


class State(StrEnum):
    """What is stored of a grant. That it expires soon, or is missing, follows from the row (`connections.grants`)."""

    CONNECTED = "Connected"
    BROKEN = "Broken"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a grant: `what` is `connected`, `refreshed`, `broken` or `disconnected`, `by` is
    "tenant/object" of a person or "" for the server itself, `reason` a code of `connections.grants.reasons`."""

    at: float
    what: str
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A row. Times are in Unix seconds. `owner` is "tenant/object", or SHARED. `reason` is a code, "" while it is
    connected without a remark. `claims` are those that its tokens were requested with by a refresh, or those that
    a refresh could not meet. The next sign-in is asked for them."""

    connection: str
    owner: str
    account: str
    account_name: str
    tenant: str
    scopes: tuple[str, ...]
    instance_url: str
    sealed: str = field(repr=False)
    key_version: str
    generation: int
    created_by: str
    connected_at: float
    state: State = State.CONNECTED
    reason: str = ""
    claims: str = field(default="", repr=False)
    attempt: str = ""
    holder: str = ""
    wrote: str = ""
    access_expires_at: float | None = None
    refresh_expires_at: float | None = None
    used_at: float | None = None
    history: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "account_name", plain(self.account_name)[:LONGEST_TEXT])
        _check(asdict(self))


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a refresh writes: the new tokens, sealed, the claims that they were requested with, and what the provider
    said beside them."""

    sealed: str = field(repr=False)
    key_version: str
    access_expires_at: float | None
    refresh_expires_at: float | None
    scopes: tuple[str, ...]
    instance_url: str = ""
    claims: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        _check(asdict(self))


def owner_of(tenant_id: str, object_id: str) -> str:
    """The owner of a person's grants."""
    return f"{tenant_id}/{object_id}"


def grant_name(entry: str) -> str:
    """The name of an entry in this table, and in URLs: `tickets` for `connections.tickets`, and `triggers.pay`."""
    return entry.removeprefix("connections.")


def entry_of(name: str) -> str:
    """The entry of a grant's name."""
    return name if name.startswith("triggers.") else f"connections.{name}"


# Reads


def find(connection: Connection, name: str, owner: str) -> Grant | None:
    """The grant; None if there is none."""
    row = connection.execute(select(grants).where(*_of(name, owner))).one_or_none()
    return None if row is None else _grant(row)


def of_owner(connection: Connection, owner: str) -> list[Grant]:
    """The grants of a person, by connection. There are as many as entries at most."""
    query = select(grants).where(grants.c.owner == owner).order_by(grants.c.connection).limit(MOST_OF_OWNER)
    return [_grant(row) for row in connection.execute(query)]


def of_connection(connection: Connection, name: str, limit: int, after: str = "") -> list[Grant]:
    """The grants of an entry, by owner: those after `after`, or all with "", from the shared one on."""
    query = select(grants).where(grants.c.connection == name)
    if after:
        query = query.where(grants.c.owner > after)
    return [_grant(row) for row in connection.execute(query.order_by(grants.c.owner).limit(limit))]


# Writes. Each may run again after a lost acknowledgement, and then has the same result. Each locks its row first, so
# that what it decides still holds when it writes.


def connect(connection: Connection, grant: Grant) -> bool:
    """Store what a consent gave: a new row, or the next generation of the same account's. False if the row is of
    another account or tenant; then nothing is stored. `grant.wrote` names the consent. An attempt to refresh the former
    tokens comes too late then."""
    if not grant.wrote:
        raise ValueError("a consent has an id")
    event = Event(grant.connected_at, "connected", grant.created_by, grant.reason)
    new = replace(grant, state=State.CONNECTED, claims="", attempt="", holder="", history=(event,))
    insert = insert_into(connection.dialect.name, grants)
    inserted = insert.values(_values(new)).on_conflict_do_nothing(index_elements=[grants.c.connection, grants.c.owner])
    if connection.execute(inserted).rowcount == 1:
        return True
    found = _locked(connection, grant.connection, grant.owner)
    if found is None:  # it was deleted meanwhile
        return connection.execute(inserted).rowcount == 1
    if (found.account, found.tenant) != (grant.account, grant.tenant):
        return False
    if found.wrote == grant.wrote or (found.connected_at, found.created_by) == (grant.connected_at, grant.created_by):
        return True  # also if its tokens were renewed since
    history = (*found.history, event)[-HISTORY:]
    _write(connection, replace(new, generation=found.generation + 1, used_at=found.used_at, history=history))
    return True


def take(
    connection: Connection, name: str, owner: str, generation: int, before: str, attempt: str, holder: str
) -> bool:
    """Take the grant for a refresh: `attempt` replaces the attempt `before` ("" if none), if the generation is still
    this one. Returns whether the grant has this attempt now. A broken grant is not taken."""
    found = _locked(connection, name, owner)
    if found is None or found.state is not State.CONNECTED or found.generation != generation:
        return False
    if found.attempt == before and found.attempt != attempt:
        found = replace(found, attempt=attempt, holder=holder)
        _write(connection, found)
    return found.attempt == attempt


def renew(
    connection: Connection, name: str, owner: str, generation: int, attempt: str, renewed: Renewed, now: float
) -> bool:
    """Write new tokens as the next generation, if generation and attempt are ours. Returns whether they are written,
    also if that was before (`wrote`)."""
    found = _locked(connection, name, owner)
    if found is None:
        return False
    if found.generation == generation + 1 and found.wrote == attempt:
        return True
    if not attempt or (found.generation, found.attempt) != (generation, attempt):
        return False
    history = (*found.history, Event(now, "refreshed"))[-HISTORY:]
    written = replace(
        found,
        sealed=renewed.sealed,
        key_version=renewed.key_version,
        access_expires_at=renewed.access_expires_at,
        refresh_expires_at=renewed.refresh_expires_at,
        scopes=renewed.scopes,
        instance_url=renewed.instance_url or found.instance_url,
        claims=renewed.claims,
        generation=generation + 1,
        attempt="",
        holder="",
        wrote=attempt,
        history=history,
    )
    _write(connection, written)
    return True


def release(connection: Connection, name: str, owner: str, generation: int, attempt: str) -> None:
    """Give back a grant that was taken and not renewed: the next one may try at once."""
    table = grants.c
    ours = (*_of(name, owner), table.generation == generation, table.attempt == attempt)
    connection.execute(update(grants).where(*ours).values(attempt=None, holder=None))


def break_(
    connection: Connection, name: str, owner: str, generation: int, attempt: str, reason: str, claims: str, now: float
) -> bool:
    """Mark the grant as broken, if generation and attempt are still these. Returns whether it is."""
    found = _locked(connection, name, owner)
    if found is None or found.generation != generation:
        return False
    if found.state is State.BROKEN:
        return True
    if found.attempt != attempt:
        return False
    if len(claims) > LONGEST["claims"]:
        claims = ""
    history = (*found.history, Event(now, "broken", reason=reason))[-HISTORY:]
    broken = replace(found, state=State.BROKEN, reason=reason, claims=claims, attempt="", holder="", history=history)
    _write(connection, broken)
    return True


def break_seen(connection: Connection, seen: Grant, reason: str, now: float) -> bool:
    """Mark the grant as broken if its tokens are still those that were seen: a row that was deleted and connected again
    has the same generation. Returns whether it is."""
    found = _locked(connection, seen.connection, seen.owner)
    if found is None or found.sealed != seen.sealed:
        return False
    return break_(connection, seen.connection, seen.owner, seen.generation, seen.attempt, reason, "", now)


def repair(connection: Connection, seen: Grant) -> bool:
    """Mark a grant that was broken as connected, with the remark of its consent: its tokens open again. Nothing happens
    if they are not those that were seen. Returns whether it is connected."""
    found = _locked(connection, seen.connection, seen.owner)
    if found is None or found.sealed != seen.sealed:
        return False
    if found.state is State.BROKEN and found.reason == seen.reason:
        remarks = [event.reason for event in found.history if event.what == "connected"]
        found = replace(found, state=State.CONNECTED, reason=remarks[-1] if remarks else "")
        _write(connection, found)
    return found.state is State.CONNECTED


def disconnect(connection: Connection, name: str, owner: str) -> Grant | None:
    """Delete the grant. Returns it as it was last, None if there is none."""
    found = _locked(connection, name, owner)
    connection.execute(delete(grants).where(*_of(name, owner)))
    return found


def note_use(connection: Connection, name: str, owner: str, now: float) -> None:
    """Note that a run used the grant. It may come in any order."""
    earlier = grants.c.used_at.is_(None) | (grants.c.used_at < now)
    connection.execute(update(grants).where(*_of(name, owner), earlier).values(used_at=now))


def _of(name: str, owner: str) -> tuple[Any, ...]:
    return grants.c.connection == name, grants.c.owner == owner


def _locked(connection: Connection, name: str, owner: str) -> Grant | None:
    """The grant, which no other transaction changes until this one ends. On SQLite there is one writer."""
    row = connection.execute(select(grants).where(*_of(name, owner)).with_for_update()).one_or_none()
    return None if row is None else _grant(row)


def _write(connection: Connection, grant: Grant) -> None:
    connection.execute(update(grants).where(*_of(grant.connection, grant.owner)).values(_values(grant)))


_OPTIONAL = frozenset(column.name for column in grants.columns if column.nullable)


def _values(grant: Grant) -> dict[str, Any]:
    """The columns of a grant. An empty text is NULL where a column allows that."""
    values = {column.name: getattr(grant, column.name) for column in grants.columns}
    values["state"] = grant.state.value
    values["scopes"] = json.dumps(grant.scopes)
    values["history"] = json.dumps([astuple(event) for event in grant.history])
    return {name: None if name in _OPTIONAL and value == "" else value for name, value in values.items()}


def _grant(row: Row[Any]) -> Grant:
    values = row._asdict()
    for name in ("attempt", "holder", "wrote", "reason", "claims"):
        values[name] = values[name] or ""
    known = values["state"] == State.CONNECTED.value  # a state of a later release is not used
    values["state"] = State.CONNECTED if known else State.BROKEN
    values["scopes"] = tuple(json.loads(values["scopes"]))
    values["history"] = tuple(Event(*event) for event in json.loads(values["history"]))
    return Grant(**values)


def _check(values: dict[str, Any]) -> None:
    """Raise ValueError, with the column's name only, if a text cannot be stored."""
    for name, value in values.items():
        text = json.dumps(value) if name == "scopes" else value
        if not isinstance(text, str):
            continue
        if len(text) > LONGEST.get(name, LONGEST_TEXT):
            raise ValueError(f"the {name} of a grant is too long")
        if "\0" in text or not _is_utf8(text):
            raise ValueError(f"the {name} of a grant is not text")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
