"""Reads about revocations: what an id is, and what goes on for the person whose access has ended."""

import json
from typing import NamedTuple

from sqlalchemy import Connection, Select, literal_column, or_, select

from postern.journal.grants import SHARED, owner_of
from postern.journal.revocations import Kind
from postern.journal.run import State
from postern.journal.schema import findings, grants, known_callers, runs, sessions, signed_urls

RECENT = 10_000
"""The latest runs in which a client id is looked for: there is no index for it."""

MOST_NAMED = 20

UNENDED = (State.WAITING.value, State.RUNNING.value)


class Left(NamedTuple):
    """What a revocation leaves as it is, for the operator: runs in progress by their ids, shared connections that the
    person connected, and signed URLs that the subject made, by workflow and id. `more_runs` and `more_urls` say that
    there are others."""

    runs: tuple[str, ...] = ()
    more_runs: bool = False
    shared: tuple[str, ...] = ()
    urls: tuple[tuple[str, str], ...] = ()
    more_urls: bool = False


def kinds_of(connection: Connection, subject: str) -> frozenset[Kind]:
    """What an id is known as here: a caller's object id, an application's client id, both or neither."""
    latest = select(runs.c.client_id).order_by(runs.c.id.desc()).limit(RECENT).subquery()
    looks: dict[Kind, tuple[Select[tuple[object]], ...]] = {
        Kind.CALLER: (
            select(runs.c.id).where(runs.c.object_id == subject).limit(1),
            select(sessions.c.id_hash).where(sessions.c.object_id == subject).limit(1),
            select(grants.c.owner).where(grants.c.owner.like(f"%/{subject}")).limit(1),
            select(known_callers.c.subject).where(known_callers.c.subject.like(f"%/{subject}")).limit(1),
            select(findings.c.id).where(findings.c.object_id == subject).limit(1),
        ),
        Kind.CLIENT: (
            select(known_callers.c.value).where(known_callers.c.value == subject).limit(1),
            select(findings.c.id).where(findings.c.client_id == subject).limit(1),
            select(latest.c.client_id).where(latest.c.client_id == subject).limit(1),
        ),
    }
    return frozenset(
        kind for kind, queries in looks.items() if any(connection.execute(query).first() for query in queries)
    )


def tenants_of(connection: Connection, subject: str) -> frozenset[str]:
    """The tenants of which a caller with this object id is known here."""
    owned = f"%/{subject}"
    named = (
        select(runs.c.tenant_id).where(runs.c.object_id == subject).order_by(runs.c.id.desc()).limit(1),
        select(sessions.c.tenant_id).where(sessions.c.object_id == subject).limit(1),
        select(grants.c.owner).where(grants.c.owner.like(owned)).limit(1),
        select(known_callers.c.subject).where(known_callers.c.subject.like(owned)).limit(1),
    )
    found = [connection.execute(query).scalar() for query in named]
    return frozenset(each.partition("/")[0] for each in found if each)


def left_by(connection: Connection, kind: Kind, tenant_id: str, subject: str, now: float) -> Left:
    """What goes on for the subject of a revocation."""
    if kind is Kind.TOKEN:
        return Left()
    column = runs.c.object_id if kind is Kind.CALLER else runs.c.client_id
    # As the partial index has it, without parameters: otherwise SQLite does not use that index.
    in_progress = (runs.c.state != literal_column("'Succeeded'"), runs.c.state.in_(UNENDED))
    found = select(runs.c.id).where(column == subject, *in_progress).order_by(runs.c.id).limit(MOST_NAMED + 1)
    ids = connection.execute(found).scalars().all()
    shared: tuple[str, ...] = ()
    if kind is Kind.CALLER:
        of_person = (grants.c.owner == SHARED, grants.c.created_by == owner_of(tenant_id, subject))
        shared = tuple(connection.execute(select(grants.c.connection).where(*of_person)).scalars().all())
    urls = _urls_made_by(connection, kind, subject, now)
    return Left(tuple(ids[:MOST_NAMED]), len(ids) > MOST_NAMED, shared, urls[:MOST_NAMED], len(urls) > MOST_NAMED)


def _urls_made_by(connection: Connection, kind: Kind, subject: str, now: float) -> tuple[tuple[str, str], ...]:
    """Signed URLs that can be used and that the subject made: whoever had its access may have made them to keep."""
    table = signed_urls.c
    member = json.dumps({"object_id" if kind is Kind.CALLER else "client_id": subject})[1:-1]  # of `journal.run.actor`
    lives = (table.revoked_at.is_(None), or_(table.expires_at.is_(None), table.expires_at > now))
    query = select(table.workflow, table.id).where(table.made_by.contains(member, autoescape=True), *lives)
    rows = connection.execute(query.order_by(table.workflow, table.id).limit(MOST_NAMED + 1))
    return tuple((row.workflow, row.id) for row in rows)
