"""The table of revocations: whose tokens, sessions, links and grants are refused, and since when.

A revocation of a person also deletes the person's sessions and open links, in the same transaction, so that none of
them depends on the clocks of two server processes.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, or_, select, update

from postern.access import Revoked
from postern.access.revocation import BACKDATED
from postern.journal.grants import owner_of
from postern.journal.inserts import insert_into
from postern.journal.schema import invitations, revocations, sessions

EFFECT_SECONDS = 3 * 86_400.0
"""For so long after it was made, a revocation of a client or a token can concern a token: tokens of Entra live for 28
hours at most (Microsoft, "Continuous access evaluation"). That of a caller concerns grants too, and so has no end."""

MOST_ACTIVE = 10_000
"""Revocations that are in effect at the same time."""

LONGEST_REASON = 500


class Kind(StrEnum):
    """What is revoked. The words are a contract: they are in the table, in the API and in the audit log."""

    CALLER = "caller"
    """A person or a service principal, by object id."""
    CLIENT = "client"
    """An application, by client id: all tokens that were issued through it, and its own."""
    TOKEN = "token"  # noqa: S105 no password
    """One token, by its id (uti)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a revocation refuses. `tenant_id` is "" for every tenant. `bars_until` is 0 if new tokens are not barred."""

    kind: Kind
    tenant_id: str
    subject: str
    not_before: float
    bars_until: float = 0.0

    def as_revoked(self) -> Revoked:
        """What it means for a caller."""
        return Revoked(self.kind.value, self.not_before, self.bars_until)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A row. `made_by` and `lifted_by` are what `journal.run.actor` writes."""

    id: str
    rule: Rule
    name: str
    reason: str
    made_by: str
    made_at: float
    lifted_by: str = ""
    lifted_at: float | None = None

    @property
    def lifted(self) -> bool:
        """Whether it was taken back."""
        return self.lifted_at is not None

    def in_effect(self, now: float) -> bool:
        """Whether it can still refuse something."""
        if self.lifted:
            return False
        lasting = self.rule.kind is Kind.CALLER or self.rule.not_before > now - EFFECT_SECONDS
        return lasting or self.rule.bars_until > now


# Each write may run again after a lost acknowledgement, and then has the same result.


def make(connection: Connection, revocation: Revocation) -> bool:
    """Store the revocation, and end what the person has here. False if too many are in effect."""
    if active_count(connection, revocation.made_at) >= MOST_ACTIVE and find(connection, revocation.id) is None:
        return False
    insert = insert_into(connection.dialect.name, revocations)
    row = insert.values(_values(revocation)).on_conflict_do_nothing(index_elements=[revocations.c.id])
    connection.execute(row)
    rule = revocation.rule
    if rule.kind is Kind.CALLER:
        owner = owner_of(rule.tenant_id, rule.subject)
        of_person = (sessions.c.object_id == rule.subject, sessions.c.tenant_id == rule.tenant_id)
        connection.execute(delete(sessions).where(*of_person))
        links = or_(invitations.c.owner == owner, invitations.c.created_by == owner)
        connection.execute(delete(invitations).where(links, invitations.c.used_by.is_(None)))
    return True


def lift(connection: Connection, revocation_id: str, by: str, now: float) -> Revocation | None:
    """Take a revocation back. Returns it as it is then, also if it was lifted before; None if there is none."""
    table = revocations.c
    open_one = (table.id == revocation_id, table.lifted_at.is_(None))
    connection.execute(update(revocations).where(*open_one).values(lifted_by=by, lifted_at=now))
    return find(connection, revocation_id)


def find(connection: Connection, revocation_id: str) -> Revocation | None:
    """The revocation; None if there is none."""
    row = connection.execute(select(revocations).where(revocations.c.id == revocation_id)).one_or_none()
    return None if row is None else _revocation(row)


def rules(connection: Connection, now: float) -> list[Rule]:
    """What is refused: the rules of all revocations that are in effect. Server processes read it twice a second, so it
    has those columns alone."""
    return [_rule(row) for row in connection.execute(_RULES, {"now": now, "since": now - EFFECT_SECONDS})]


def refuses_owner(connection: Connection, owner: str, since: float, now: float) -> bool:
    """Whether the access of the owner of a grant ("tenant/object") has ended since it was connected, for programs that
    have the database alone. The token by which the owner had signed in was dated back."""
    tenant_id, _, subject = owner.partition("/")
    table = revocations.c
    of_owner = (table.kind == Kind.CALLER.value, table.tenant_id == tenant_id, table.subject == subject)
    ended = or_(table.not_before > since - BACKDATED, table.bars_until > now)
    found = select(table.id).where(*of_owner, table.lifted_at.is_(None), ended).limit(1)
    return connection.execute(found).first() is not None


def active_count(connection: Connection, now: float) -> int:
    """How many are in effect."""
    counted = select(func.count()).select_from(revocations).where(_in_effect(now))
    return int(connection.execute(counted).scalar_one())


def listed(connection: Connection, now: float, limit: int, after: str = "", *, active: bool = True) -> list[Revocation]:
    """Revocations, the newest first, from the one after `after`: those in effect, or all."""
    query = select(revocations)
    if active:
        query = query.where(_in_effect(now))
    if after:
        query = query.where(revocations.c.id < after)
    return [_revocation(row) for row in connection.execute(query.order_by(revocations.c.id.desc()).limit(limit))]


def delete_revocations(connection: Connection, before: float, limit: int) -> int:
    """Delete up to `limit` revocations without an effect: lifted before that moment, or of a client or a token whose
    tokens had all expired then. Returns how many."""
    table = revocations.c
    gone = or_(
        table.lifted_at < before,
        and_(
            table.kind != Kind.CALLER.value,
            table.not_before < before - EFFECT_SECONDS,
            or_(table.bars_until.is_(None), table.bars_until < before),
        ),
    )
    chosen = select(table.id).where(gone).limit(limit).with_for_update(skip_locked=True)
    ids = connection.execute(chosen).scalars().all()
    connection.execute(delete(revocations).where(table.id.in_(ids)))
    return len(ids)


def _in_effect(now: float) -> ColumnElement[bool]:
    """The condition of `Revocation.in_effect`."""
    return _lasting(now, now - EFFECT_SECONDS)


def _lasting(now: Any, since: Any) -> ColumnElement[bool]:
    table = revocations.c
    lasting = or_(table.kind == Kind.CALLER.value, table.not_before > since, table.bars_until > now)
    return and_(table.lifted_at.is_(None), lasting)


_RULES = select(*(revocations.c[name] for name in ("kind", "tenant_id", "subject", "not_before", "bars_until"))).where(
    _lasting(bindparam("now"), bindparam("since"))
)
"""Ready-made, because each server process reads it twice a second."""


def _values(revocation: Revocation) -> dict[str, Any]:
    rule = revocation.rule
    return {
        "id": revocation.id,
        "kind": rule.kind.value,
        "tenant_id": rule.tenant_id,
        "subject": rule.subject,
        "name": revocation.name,
        "not_before": rule.not_before,
        "bars_until": rule.bars_until or None,
        "reason": revocation.reason,
        "made_by": revocation.made_by,
        "made_at": revocation.made_at,
        "lifted_by": revocation.lifted_by or None,
        "lifted_at": revocation.lifted_at,
    }


def _rule(row: Any) -> Rule:
    return Rule(Kind(row.kind), row.tenant_id, row.subject, row.not_before, row.bars_until or 0.0)


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(
        row.id, _rule(row), row.name, row.reason, row.made_by, row.made_at, row.lifted_by or "", row.lifted_at
    )


def actor_of(text: str) -> dict[str, Any]:
    """Who made or lifted it, as `journal.run.actor` wrote it."""
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
