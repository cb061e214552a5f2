"""The table of grants: what people allowed this server to do for them elsewhere, one row for each connection and owner.

The tokens in it are sealed (`connections.grants.seal`): whoever reads the database, or a backup, cannot use them.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Connection

SHARED = ""
"""The owner of a shared connection's grant."""

HISTORY = 20
"""Events that a grant keeps."""


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
    connected without a remark."""

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


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a refresh writes: the new tokens, sealed, and what the provider said beside them."""

    sealed: str = field(repr=False)
    key_version: str
    access_expires_at: float | None
    refresh_expires_at: float | None
    scopes: tuple[str, ...]
    instance_url: str = ""


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
    raise NotImplementedError


def of_owner(connection: Connection, owner: str) -> list[Grant]:
    """The grants of a person, by connection. There are as many as entries at most."""
    raise NotImplementedError


def of_connection(connection: Connection, name: str, limit: int, after: str = "") -> list[Grant]:
    """The grants of an entry, by owner, from the one after `after`."""
    raise NotImplementedError


# Writes. Each may run again after a lost acknowledgement, and then has the same result.


def connect(connection: Connection, grant: Grant) -> bool:
    """Store what a consent gave: a new row, or the next generation of the same account's. False if the row is of
    another account or tenant; then nothing is stored. `grant.wrote` names the consent."""
    raise NotImplementedError


def take(
    connection: Connection, name: str, owner: str, generation: int, before: str, attempt: str, holder: str
) -> bool:
    """Take the grant for a refresh: `attempt` replaces the attempt `before` ("" if none), if the generation is still
    this one. Returns whether the grant has this attempt now."""
    raise NotImplementedError


def renew(
    connection: Connection, name: str, owner: str, generation: int, attempt: str, renewed: Renewed, now: float
) -> bool:
    """Write new tokens as the next generation, if generation and attempt are ours. Returns whether they are written,
    also if that was before (`wrote`)."""
    raise NotImplementedError


def release(connection: Connection, name: str, owner: str, generation: int, attempt: str) -> None:
    """Give back a grant that was taken and not renewed: the next one may try at once."""
    raise NotImplementedError


def break_(
    connection: Connection, name: str, owner: str, generation: int, attempt: str, reason: str, claims: str, now: float
) -> bool:
    """Mark the grant as broken, if generation and attempt are still these. Returns whether it is."""
    raise NotImplementedError


def disconnect(connection: Connection, name: str, owner: str) -> None:
    """Delete the grant."""
    raise NotImplementedError


def note_use(connection: Connection, name: str, owner: str, now: float) -> None:
    """Note that a run used the grant."""
    raise NotImplementedError
