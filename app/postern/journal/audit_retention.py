"""Deletes the oldest events of each chain of the audit log, and old checkpoints.

What is deleted is announced by an event first: the number and hash up to which each chain loses its events. So a chain
that was shortened by retention can be told from one whose beginning was removed.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, update

from postern.journal.audit_chain import body_hash
from postern.journal.schema import nodes
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events

MOST_CHAINS = 100
"""Chains that are shortened by one event."""

End = tuple[int, str]
"""The number and hash of an event, or of a checkpoint: it goes, and all before it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is old: up to where, by the ids of server processes."""

    before: float
    events: dict[str, End] = field(default_factory=dict)
    checkpoints: dict[str, End] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.events or self.checkpoints)

    @property
    def is_full(self) -> bool:
        """Whether there may be more that is old."""
        return len(self.events) == MOST_CHAINS or len(self.checkpoints) == MOST_CHAINS

    def fields(self) -> dict[str, Any]:
        """As the event says it."""
        return {"before": self.before, "checkpoints": self.checkpoints, "events": self.events}


def plan(connection: Connection, before: float, own: str) -> Plan:
    """What is older than that moment. A chain goes with its last event. A server process that runs keeps that event,
    as `own` does, and each chain its last checkpoint."""
    found = Plan(before)
    running = {own, *connection.execute(select(nodes.c.id)).scalars()}
    made = {}  # how many checkpoints each chain has that stays
    for chain in connection.execute(select(audit_chains).order_by(audit_chains.c.last_at)).all():
        last = chain.last - 1 if chain.node in running else chain.last
        until = min(last, _last_before(connection, chain.node, before, chain.last))
        is_old = until >= chain.first and _is_old(_body_of(connection, audit_events, chain.node, until), before)
        digest = _hash_of(connection, chain.node, until) if is_old else ""
        if digest and len(found.events) < MOST_CHAINS:
            found.events[chain.node] = (until, digest)
        if not digest or until < chain.last or chain.node not in found.events:
            made[chain.node] = chain.checkpoints
    for node, number in _old_checkpoints(connection, before):
        until = min(number, made.get(node, number + 1) - 1)
        body = _body_of(connection, audit_checkpoints, node, until)
        if _is_old(body, before) and len(found.checkpoints) < MOST_CHAINS:
            found.checkpoints[node] = (until, body_hash(body))
    return found


def _last_before(connection: Connection, node: str, before: float, last: int) -> int:
    events = audit_events.c
    first_young = select(func.min(events.number)).where(events.node == node, events.at >= before)
    young: int | None = connection.execute(first_young).scalar()
    return last if young is None else young - 1


def _hash_of(connection: Connection, node: str, number: int) -> str:
    events = audit_events.c
    found = connection.execute(select(events.hash).where(events.node == node, events.number == number)).scalar()
    return found or ""


def _old_checkpoints(connection: Connection, before: float) -> list[tuple[str, int]]:
    table = audit_checkpoints.c
    old = select(table.node, func.max(table.number)).where(table.at < before).group_by(table.node)
    return [(node, number) for node, number in connection.execute(old)]


def _body_of(connection: Connection, table: Table, node: str, number: int) -> str:
    columns = table.c
    found = connection.execute(select(columns.body).where(columns.node == node, columns.number == number)).scalar()
    return found or ""


def _is_old(body: str, before: float) -> bool:
    """Whether the body says so too, which the chain protects: if the columns alone say so, somebody else wrote them."""
    try:
        return bool(json.loads(body)["at"] < before)
    except (ValueError, TypeError, KeyError):
        return False


def prune(connection: Connection, node: str, until: End, limit: int) -> int:
    """Delete up to `limit` events of a chain, none after `until`. Returns how many. A chain of which nothing is left
    goes too. It may be repeated."""
    chain = connection.execute(select(audit_chains).where(audit_chains.c.node == node).with_for_update()).one_or_none()
    if chain is None or chain.first > until[0]:
        return 0
    number = min(chain.first - 1 + limit, until[0])
    digest = until[1] if number == until[0] else _hash_of(connection, node, number)
    if not digest:
        return 0  # it is not there: whoever verifies the chain finds out
    gone = delete(audit_events).where(audit_events.c.node == node, audit_events.c.number <= number)
    deleted = connection.execute(gone).rowcount
    of_chain = audit_chains.c.node == node
    if number == chain.last:
        connection.execute(delete(audit_chains).where(of_chain, audit_chains.c.last == number))
    else:
        connection.execute(update(audit_chains).where(of_chain).values(first=number + 1, before=digest))
    return deleted


def prune_checkpoints(connection: Connection, node: str, until: End) -> int:
    """Delete the checkpoints of a server process up to this one. Returns how many."""
    table = audit_checkpoints.c
    deleted = connection.execute(delete(audit_checkpoints).where(table.node == node, table.number <= until[0]))
    return deleted.rowcount
