"""What the journal knows of who used what, for the access review."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, or_, select

from postern.ids import time_of
from postern.journal.known_callers import WorkflowUse, known_since, workflow_uses
from postern.journal.revocations import Kind, rules
from postern.journal.schema import runs, signed_urls


@dataclass(frozen=True, slots=True)
class Link:
    """A signed URL that works."""

    workflow: str
    id: str
    key: str
    expires_at: float | None
    uses: int
    used_at: float | None


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """Times are Unix seconds. `known_since` is since when uses are known completely, None if nothing was noted yet.
    `revoked` has the object ids and client ids whose tokens are refused. `last_runs` is when a workflow last ran."""

    uses: tuple[WorkflowUse, ...] = ()
    known_since: float | None = None
    links: tuple[Link, ...] = ()
    revoked: frozenset[str] = frozenset()
    last_runs: Mapping[str, float] = field(default_factory=dict)


def read_facts(connection: Connection, now: float, anonymous: Iterable[str]) -> AccessFacts:
    """All of it. The last runs are those of the workflows `anonymous`, because callers without a token are no known
    callers."""
    return AccessFacts(
        uses=tuple(workflow_uses(connection)),
        known_since=known_since(connection),
        links=tuple(_links(connection, now)),
        revoked=_revoked(connection, now),
        last_runs={name: at for name in anonymous if (at := _last_run(connection, name)) is not None},
    )


def _links(connection: Connection, now: float) -> list[Link]:
    table = signed_urls.c
    works = table.revoked_at.is_(None) & or_(table.expires_at.is_(None), table.expires_at > now)
    query = select(table.workflow, table.id, table.key, table.expires_at, table.uses, table.used_at).where(works)
    return [Link(*row) for row in connection.execute(query.order_by(table.workflow, table.id))]


def _revoked(connection: Connection, now: float) -> frozenset[str]:
    return frozenset(rule.subject for rule in rules(connection, now) if rule.kind is not Kind.TOKEN)


def _last_run(connection: Connection, workflow: str) -> float | None:
    query = select(runs.c.id).where(runs.c.workflow == workflow).order_by(runs.c.id.desc()).limit(1)
    found = connection.scalar(query)
    return time_of(found) if found is not None else None
