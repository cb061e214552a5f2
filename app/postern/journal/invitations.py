"""The table of invitations: links by which an operator asks a person to connect something. It has the hash of each
link's secret only."""

from dataclasses import dataclass

from sqlalchemy import Connection

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


def invite(connection: Connection, invitation: Invitation) -> None:
    """Store an invitation. It may be repeated."""
    raise NotImplementedError


def look(connection: Connection, hash_: str, name: str, owner: str, now: float) -> Invitation | None:
    """The invitation, if it is for this connection and person, unused and not expired. It changes nothing."""
    raise NotImplementedError


def use(connection: Connection, hash_: str, name: str, owner: str, request_id: str, now: float) -> bool:
    """Use the invitation, once. Returns whether it is this request that used it, also if it is repeated."""
    raise NotImplementedError


def delete_invitations(connection: Connection, before: float, limit: int) -> int:
    """Delete up to `limit` invitations that had expired before that moment, used ones too. Returns how many."""
    raise NotImplementedError
